//! NEFTune: the same noise on both engines, and none in evaluation.

use crate::support::{adapter, distance, dolly_mini, model, packed, plain, records, trained};
use candle_core::DType;
use lora::{Adapter, EvalRecord, StepRecord, TrainConfig, Trainable};
use smollm_model::{Checkpointing, TrainingOptions};

fn config(alpha: Option<f64>) -> TrainConfig {
    TrainConfig {
        max_steps: Some(4),
        batch_size: 2,
        eval_steps: Some(2),
        neftune_noise_alpha: alpha,
        ..plain()
    }
}

type Run = (Vec<StepRecord>, Vec<EvalRecord>, Adapter);

fn on_packed(config: &TrainConfig, options: TrainingOptions) -> Run {
    let mut engine = packed(options);
    let start = adapter(&model(DType::F32), true);
    let trainable = Trainable::beside(&start, engine.config()).unwrap();
    let rows = dolly_mini(7);
    let events = trained(&mut engine, &trainable, (&rows, &rows), config);
    let (steps, evals) = records(events);
    (steps, evals, trainable.to_adapter().unwrap())
}

fn on_autograd(config: &TrainConfig) -> Run {
    let mut model = model(DType::F32);
    let start = adapter(&model, true);
    let trainable = Trainable::attach(&start, &mut model).unwrap();
    let rows = dolly_mini(7);
    let events = trained(&model, &trainable, (&rows, &rows), config);
    let (steps, evals) = records(events);
    (steps, evals, trainable.to_adapter().unwrap())
}

#[test]
fn both_engines_train_with_the_same_noise() {
    let noisy = config(Some(5.0));
    let (ours, ours_evals, end) = on_packed(&noisy, TrainingOptions::default());
    let (reference, reference_evals, expected) = on_autograd(&noisy);
    let (quiet, ..) = on_autograd(&config(None));
    for ((a, b), q) in ours.iter().zip(&reference).zip(&quiet) {
        assert!((a.loss - b.loss).abs() < 5e-5, "{a:?} {b:?}");
        assert!(
            (a.grad_norm / b.grad_norm - 1.0).abs() < 1e-4,
            "{a:?} {b:?}"
        );
        // Twenty times what the two may differ by.
        assert!((b.loss - q.loss).abs() > 1e-3, "{b:?} {q:?}");
    }
    for (a, b) in ours_evals.iter().zip(&reference_evals) {
        assert!((a.eval_loss - b.eval_loss).abs() < 5e-5, "{a:?} {b:?}");
    }
    let theirs = expected.tensors();
    for (name, tensor) in end.tensors() {
        assert!(distance(tensor, theirs[&name]) < 1e-4, "{name}");
    }
}

#[test]
fn threads_and_checkpointing_do_not_change_it_and_steps_and_seeds_do() {
    let noisy = config(Some(5.0));
    let with = |threads, checkpointing| {
        let options = TrainingOptions {
            threads: Some(threads),
            checkpointing,
            ..TrainingOptions::default()
        };
        on_packed(&noisy, options).2
    };
    let one = with(1, Checkpointing::None);
    for other in [with(2, Checkpointing::None), with(2, Checkpointing::Block)] {
        let others = other.tensors();
        for (name, tensor) in one.tensors() {
            assert_eq!(distance(tensor, others[&name]), 0.0, "{name}");
        }
    }
    // One row again and again, nothing learnt: the loss moves with the noise alone.
    let still = TrainConfig {
        max_steps: Some(3),
        accumulation: 1,
        batch_size: 7,
        learning_rate: 0.0,
        ..noisy
    };
    let losses = |seed| {
        let config = TrainConfig {
            seed,
            ..still.clone()
        };
        let (steps, ..) = on_packed(&config, TrainingOptions::default());
        steps.into_iter().map(|step| step.loss).collect::<Vec<_>>()
    };
    let (first, second) = (losses(1), losses(2));
    let mut all = [first.clone(), second].concat();
    all.sort_by(f64::total_cmp);
    all.dedup();
    assert_eq!(all.len(), 6, "{all:?}");
    assert_eq!(first, losses(1));
}

#[test]
fn evaluation_has_none_and_alpha_0_is_none() {
    let still = |alpha| TrainConfig {
        learning_rate: 0.0,
        ..config(alpha)
    };
    for run in [on_autograd, |config: &TrainConfig| {
        on_packed(config, TrainingOptions::default())
    }] {
        let (quiet, quiet_evals, _) = run(&still(None));
        let (noisy, noisy_evals, _) = run(&still(Some(50.0)));
        let (zero, ..) = run(&still(Some(0.0)));
        let losses = |evals: &[EvalRecord]| evals.iter().map(|e| e.eval_loss).collect::<Vec<_>>();
        assert_eq!(losses(&quiet_evals), losses(&noisy_evals));
        assert_ne!(quiet[0].loss, noisy[0].loss);
        assert_eq!(quiet[0].loss, zero[0].loss);
    }
}

#[test]
fn alphas_that_are_no_sizes_are_refused() {
    for alpha in [-1.0, f64::NAN, f64::INFINITY] {
        let error = config(Some(alpha)).check().unwrap_err().to_string();
        assert!(error.contains("NEFTune"), "{error}");
    }
}
