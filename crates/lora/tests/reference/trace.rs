//! Ten steps over the trace's rows, against PEFT's.

use crate::{distances, golden, rows};
use lora::{Adapter, Engine, Schedule, StepRecord, TrainConfig, TrainEvent, Trainable, train};
use serde_json::Value;
use std::ops::ControlFlow;

/// What came out of ours.
pub(crate) struct Followed {
    steps: Vec<StepRecord>,
    trained: Adapter,
}

/// Trains as the trace says.
pub(crate) fn follow<'a>(model: impl Into<Engine<'a>>, trainable: &Trainable) -> Followed {
    let config = TrainConfig {
        learning_rate: 5e-5,
        schedule: Schedule::Constant,
        warmup_ratio: 0.0,
        accumulation: 4,
        shuffle: false,
        ..TrainConfig::default()
    };
    let mut steps: Vec<StepRecord> = Vec::new();
    let mut keep = |event: TrainEvent| {
        if let TrainEvent::Step(record) = event {
            steps.push(record);
        }
        ControlFlow::Continue(())
    };
    train(model, trainable, &rows(), &[], &config, &mut keep).unwrap();
    let trained = trainable.to_adapter().unwrap();
    Followed { steps, trained }
}

impl Followed {
    /// To f32's rounding: losses, norms, and every number of the adapter.
    pub(crate) fn assert_f32(&self) {
        self.assert_steps(5e-5, 5e-4);
        let end = Adapter::load(golden("final_adapter")).unwrap();
        let (mut near, mut all) = (0usize, 0usize);
        for (name, theirs) in end.tensors() {
            let far = distances(self.trained.tensors()[&name], theirs);
            assert!(far.iter().all(|&d| d < 5e-5), "{name}");
            near += far.iter().filter(|&&d| d < 2e-5).count();
            all += far.len();
        }
        assert!(near as f64 >= 0.999 * all as f64, "{near} of {all}");
    }

    /// With weights and activations rounded to bf16: losses and norms nearly, and an adapter that went the same way.
    pub(crate) fn assert_bf16(&self) {
        self.assert_steps(2e-2, 3e-2);
        let [start, end] = ["init_adapter", "final_adapter"].map(|name| {
            let adapter = Adapter::load(golden(name));
            adapter.unwrap()
        });
        let (mut far, mut way) = (0.0, 0.0);
        for (name, theirs) in end.tensors() {
            let squares = |d: Vec<f32>| d.iter().map(|&d| f64::from(d).powi(2)).sum::<f64>();
            far += squares(distances(self.trained.tensors()[&name], theirs));
            way += squares(distances(start.tensors()[&name], theirs));
        }
        let share = (far / way).sqrt();
        println!("bf16: {share:.3} of the way from PEFT's adapter");
        assert!(share < 0.25, "{share} of the way");
    }

    fn assert_steps(&self, loss: f64, norm: f64) {
        let trace = std::fs::read(golden("trace.json")).unwrap();
        let trace: Value = serde_json::from_slice(&trace).unwrap();
        let steps = trace["steps"].as_array().unwrap();
        assert_eq!(self.steps.len(), steps.len());
        let (mut of_loss, mut of_norm) = (0.0, 0.0);
        for (ours, theirs) in self.steps.iter().zip(steps) {
            let number = |name: &str| theirs[name].as_f64().unwrap();
            assert_eq!(ours.supervised_tokens as f64, number("loss_tokens"));
            of_loss = f64::max(of_loss, (ours.loss - number("loss")).abs());
            let ratio = ours.grad_norm / number("grad_norm_before_clip");
            of_norm = f64::max(of_norm, (ratio - 1.0).abs());
        }
        println!("at most {of_loss:.1e} from PEFT's losses, {of_norm:.1e} from its norms");
        assert!(of_loss < loss && of_norm < norm, "{of_loss} {of_norm}");
    }
}
