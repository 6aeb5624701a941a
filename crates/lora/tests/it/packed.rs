//! Training on packed weights: the numbers of the differentiable model, and the loop's promises.

use crate::support::{adapter, distance, model, packed, plain, records, three_rows, trained};
use candle_core::DType;
use lora::{Adapter, EvalRecord, StepRecord, TrainConfig, TrainEvent, Trainable};
use smollm_model::{Checkpointing, TrainingOptions};

struct Run {
    adapter: Adapter,
    steps: Vec<StepRecord>,
    evals: Vec<EvalRecord>,
}

fn start(dropout: f64) -> Adapter {
    let mut start = adapter(&model(DType::F32), true);
    start.set_dropout(dropout).unwrap();
    start
}

fn split(events: Vec<TrainEvent>, adapter: Adapter) -> Run {
    let (steps, evals) = records(events);
    Run {
        adapter,
        steps,
        evals,
    }
}

fn on_packed(config: &TrainConfig, dropout: f64, options: TrainingOptions) -> Run {
    let mut model = packed(options);
    let trainable = Trainable::beside(&start(dropout), model.config()).unwrap();
    let rows = three_rows();
    let events = trained(&mut model, &trainable, (&rows, &rows), config);
    split(events, trainable.to_adapter().unwrap())
}

fn on_autograd(config: &TrainConfig, dropout: f64) -> Run {
    let mut model = model(DType::F32);
    let trainable = Trainable::attach(&start(dropout), &mut model).unwrap();
    let rows = three_rows();
    let events = trained(&model, &trainable, (&rows, &rows), config);
    split(events, trainable.to_adapter().unwrap())
}

fn config() -> TrainConfig {
    TrainConfig {
        epochs: 4.0,
        batch_size: 2,
        accumulation: 2,
        eval_steps: Some(2),
        ..plain()
    }
}

#[test]
fn the_trace_is_that_of_the_differentiable_model() {
    let found = on_packed(&config(), 0.1, TrainingOptions::default());
    let expected = on_autograd(&config(), 0.1);
    assert_eq!(found.steps.len(), expected.steps.len());
    for (a, b) in found.steps.iter().zip(&expected.steps) {
        assert!((a.loss - b.loss).abs() < 5e-5, "{a:?} {b:?}");
        assert!(
            (a.grad_norm / b.grad_norm - 1.0).abs() < 1e-4,
            "{a:?} {b:?}"
        );
        assert_eq!(
            (a.tokens, a.supervised_tokens),
            (b.tokens, b.supervised_tokens)
        );
    }
    assert_eq!(found.evals.len(), expected.evals.len());
    for (a, b) in found.evals.iter().zip(&expected.evals) {
        assert!((a.eval_loss - b.eval_loss).abs() < 5e-5, "{a:?} {b:?}");
    }
    let theirs = expected.adapter.tensors();
    for (name, tensor) in found.adapter.tensors() {
        assert!(distance(tensor, theirs[&name]) < 1e-4, "{name}");
    }
}

#[test]
fn threads_and_checkpointing_change_no_byte() {
    for dtype in [DType::F32, DType::BF16] {
        let with = |threads, checkpointing| {
            let options = TrainingOptions {
                dtype,
                threads: Some(threads),
                checkpointing,
                ..TrainingOptions::default()
            };
            on_packed(&config(), 0.1, options).adapter
        };
        let reference = with(1, Checkpointing::None);
        for other in [with(2, Checkpointing::None), with(2, Checkpointing::Block)] {
            let others = other.tensors();
            for (name, tensor) in reference.tensors() {
                assert_eq!(distance(tensor, others[&name]), 0.0, "{name}");
            }
        }
    }
}
