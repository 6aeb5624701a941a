//! The loop: what must not matter, what must, and how it ends early.

use crate::support::{adapter, distance, ignore, keep, model, plain, records, three_rows, values};
use candle_core::{DType, Tensor};
use lora::{
    Adapter, Batching, EvalRecord, Sample, Schedule, StepRecord, TrainConfig, TrainError,
    TrainEvent, TrainOutcome, Trainable, evaluate, planned_steps, train,
};
use std::ops::ControlFlow;

/// Four rows: the three of the golden and the first one again, shortened.
fn four_rows() -> Vec<Sample> {
    let mut rows = three_rows();
    let ids = rows[0].ids[..40].to_vec();
    rows.push(Sample {
        ids,
        labels: (5..40).collect(),
    });
    rows
}

struct Run {
    adapter: Adapter,
    steps: Vec<StepRecord>,
    evals: Vec<EvalRecord>,
    outcome: TrainOutcome,
}

fn run(config: &TrainConfig, dropout: f64, eval_rows: &[Sample]) -> Run {
    let mut model = model(DType::F32);
    let mut start = adapter(&model, true);
    start.set_dropout(dropout).unwrap();
    let trainable = Trainable::attach(&start, &mut model).unwrap();
    let (rows, mut events) = (four_rows(), Vec::new());
    let outcome = train(
        &model,
        &trainable,
        &rows,
        eval_rows,
        config,
        &mut keep(&mut events),
    )
    .unwrap();
    let (steps, evals) = records(events);
    Run {
        adapter: trainable.to_adapter().unwrap(),
        steps,
        evals,
        outcome,
    }
}

fn bytes(adapter: &Adapter) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    adapter.save(dir.path()).unwrap();
    std::fs::read(dir.path().join(lora::WEIGHTS_FILE)).unwrap()
}

#[test]
fn one_batch_of_four_is_four_batches_of_one() {
    let one = TrainConfig {
        batch_size: 4,
        accumulation: 1,
        epochs: 2.0,
        ..plain()
    };
    let four = TrainConfig {
        batch_size: 1,
        accumulation: 4,
        ..one.clone()
    };
    let (one, four) = (run(&one, 0.0, &[]), run(&four, 0.0, &[]));
    assert_eq!(one.outcome.planned_steps, 2);
    for (a, b) in one.steps.iter().zip(&four.steps) {
        assert!((a.loss - b.loss).abs() < 2e-6, "{a:?} {b:?}");
        assert!(
            (a.grad_norm / b.grad_norm - 1.0).abs() < 2e-6,
            "{a:?} {b:?}"
        );
        assert_eq!(
            (a.supervised_tokens, a.tokens),
            (b.supervised_tokens, b.tokens)
        );
    }
    for (name, tensor) in one.adapter.tensors() {
        assert!(
            distance(tensor, four.adapter.tensors()[&name]) < 2e-5,
            "{name}"
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_with_any_number_of_threads() {
    let config = TrainConfig {
        epochs: 2.0,
        shuffle: true,
        batch_size: 2,
        ..plain()
    };
    let in_pool = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        bytes(&pool.install(|| run(&config, 0.1, &[])).adapter)
    };
    let reference = in_pool(1);
    assert_eq!(reference, in_pool(1), "again");
    assert_eq!(reference, in_pool(2), "two threads");
    assert_eq!(reference, in_pool(3), "three threads");
    let other = TrainConfig { seed: 43, ..config };
    assert_ne!(
        reference,
        bytes(&run(&other, 0.1, &[]).adapter),
        "another seed"
    );
}

#[test]
fn dropout_acts_in_training_and_not_in_evaluation() {
    let with = run(&plain(), 0.3, &three_rows());
    let without = run(&plain(), 0.0, &three_rows());
    assert_ne!(with.steps[0].loss, without.steps[0].loss);
    let mut model = model(DType::F32);
    with.adapter.attach(&mut model).unwrap();
    let ControlFlow::Continue((loss, _)) = evaluate(&model, &three_rows(), 1, &mut ignore).unwrap()
    else {
        panic!("nobody stopped it");
    };
    assert!((with.evals[0].eval_loss - loss).abs() < 1e-6);
}

#[test]
fn a_short_window_counts_and_epochs_may_be_fractions() {
    let config = TrainConfig {
        accumulation: 3,
        epochs: 1.5,
        ..plain()
    };
    let run = run(&config, 0.0, &[]);
    let seen: Vec<usize> = run.steps.iter().map(|s| s.supervised_tokens).collect();
    let labels: Vec<usize> = four_rows().iter().map(|r| r.labels.len()).collect();
    let first = labels[..3].iter().sum();
    assert_eq!(seen, [first, labels[3], first]);
    assert_eq!(
        run.outcome.planned_steps,
        planned_steps(&four_rows(), &config).unwrap()
    );
    let capped = TrainConfig {
        max_steps: Some(7),
        ..config
    };
    assert_eq!(planned_steps(&four_rows(), &capped).unwrap(), 7);
}

#[test]
fn how_rows_are_put_together_does_not_change_an_update_over_all_of_them() {
    let all_at_once = |batching, batch_size| {
        let config = TrainConfig {
            batching,
            batch_size,
            accumulation: 4,
            shuffle: true,
            max_steps: Some(1),
            ..plain()
        };
        run(&config, 0.0, &[]).steps.remove(0)
    };
    let one_by_one = all_at_once(Batching::Shuffled, 1);
    let longest = four_rows().iter().map(|row| row.ids.len()).max().unwrap();
    for (batching, batch_size) in [
        (Batching::Bucketed, 2),
        (
            Batching::Packed {
                max_tokens: 2 * longest,
            },
            1,
        ),
    ] {
        let step = all_at_once(batching, batch_size);
        assert_eq!(step.supervised_tokens, one_by_one.supervised_tokens);
        assert!((step.loss - one_by_one.loss).abs() < 1e-6, "{batching:?}");
        assert!((step.grad_norm - one_by_one.grad_norm).abs() < 1e-5 * one_by_one.grad_norm);
    }
}

#[test]
fn batches_that_are_put_together_have_no_order_of_the_file() {
    let config = TrainConfig {
        batching: Batching::Bucketed,
        shuffle: false,
        ..plain()
    };
    let error = planned_steps(&four_rows(), &config)
        .unwrap_err()
        .to_string();
    assert!(error.contains("Bucketed without shuffling"), "{error}");
}

#[test]
fn the_log_tells_the_rate_that_was_used_and_rate_zero_changes_nothing() {
    let schedule = TrainConfig {
        max_steps: Some(4),
        schedule: Schedule::Linear,
        warmup_ratio: 0.25,
        ..plain()
    };
    let rates: Vec<f64> = run(&schedule, 0.0, &[])
        .steps
        .iter()
        .map(|s| s.lr)
        .collect();
    assert_eq!(rates, [0.0, 1e-3, 1e-3 * 2.0 / 3.0, 1e-3 / 3.0]);
    let still = TrainConfig {
        max_steps: Some(1),
        ..schedule
    };
    let start = adapter(&model(DType::F32), true);
    assert_eq!(bytes(&run(&still, 0.0, &[]).adapter), bytes(&start));
}

#[test]
fn training_learns() {
    let config = TrainConfig {
        max_steps: Some(25),
        accumulation: 4,
        learning_rate: 5e-3,
        ..plain()
    };
    let steps = run(&config, 0.0, &[]).steps;
    let (first, last) = (steps[0].loss, steps[24].loss);
    assert!(last < 0.8 * first, "{first} {last}");
}

#[test]
fn evaluation_comes_when_asked_and_at_the_end() {
    let config = TrainConfig {
        max_steps: Some(5),
        eval_steps: Some(2),
        ..plain()
    };
    let run = run(&config, 0.0, &three_rows());
    let at: Vec<usize> = run.evals.iter().map(|e| e.step).collect();
    assert_eq!(at, [2, 4, 5]);
    let labels: usize = three_rows().iter().map(|r| r.labels.len()).sum();
    assert!(run.evals.iter().all(|e| e.eval_tokens == labels));
    assert_eq!(run.outcome.eval_loss, Some(run.evals[2].eval_loss));
}

#[test]
fn stopping_within_a_window_leaves_the_step_before() {
    let mut model = model(DType::F32);
    let start = adapter(&model, true);
    let after_one = run(
        &TrainConfig {
            max_steps: Some(1),
            ..plain()
        },
        0.0,
        &[],
    );
    let trainable = Trainable::attach(&start, &mut model).unwrap();
    let mut batches = 0;
    let mut third_batch = |event: TrainEvent| {
        batches += usize::from(matches!(event, TrainEvent::Batch { .. }));
        if batches == 3 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let rows = four_rows();
    let outcome = train(&model, &trainable, &rows, &[], &plain(), &mut third_batch).unwrap();
    assert_eq!(
        (outcome.steps, outcome.planned_steps, outcome.complete),
        (1, 2, false)
    );
    assert_eq!(
        bytes(&trainable.to_adapter().unwrap()),
        bytes(&after_one.adapter)
    );
}

#[test]
fn a_loss_that_is_no_number_names_step_and_rows() {
    let mut model = model(DType::F32);
    let trainable = Trainable::attach(&adapter(&model, true), &mut model).unwrap();
    let var = trainable.vars().values().next().unwrap();
    let nan = Tensor::full(f32::NAN, var.shape(), var.device()).unwrap();
    var.set(&nan).unwrap();
    let error = train(&model, &trainable, &four_rows(), &[], &plain(), &mut ignore).unwrap_err();
    assert!(
        matches!(error, TrainError::NotFinite { step: 1, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("rows [0]"), "{error}");
}

#[test]
fn bf16_weights_train_f32_variables() {
    let mut model = model(DType::BF16);
    let trainable = Trainable::attach(&adapter(&model, true), &mut model).unwrap();
    let before = trainable.to_adapter().unwrap();
    train(&model, &trainable, &four_rows(), &[], &plain(), &mut ignore).unwrap();
    let after = trainable.to_adapter().unwrap();
    for (name, tensor) in before.tensors() {
        let now = after.tensors()[&name];
        assert_eq!(now.dtype(), DType::F32);
        assert_ne!(values(tensor), values(now), "{name}");
    }
}

#[test]
fn bad_rows_and_settings_are_named() {
    let mut model = model(DType::F32);
    let trainable = Trainable::attach(&adapter(&model, true), &mut model).unwrap();
    let fails = |rows: &[Sample], config: &TrainConfig| {
        let result = train(&model, &trainable, rows, &[], config, &mut ignore);
        result.unwrap_err().to_string()
    };
    assert!(fails(&[], &plain()).contains("no training rows"));
    let row = |ids: &[u32], labels: &[usize]| Sample {
        ids: ids.into(),
        labels: labels.into(),
    };
    for (bad, word) in [
        (row(&[1, 2], &[]), "no supervised token"),
        (row(&[1, 2], &[0]), "position 0"),
        (row(&[1, 2], &[2]), "position 2"),
        (row(&[], &[1]), "position 1"),
        (row(&[1, 2, 3], &[2, 1]), "not ascending"),
        (row(&[1, 999_999], &[1]), "token id 999999"),
        (row(&vec![1; 100_000], &[1]), "100000 tokens"),
    ] {
        let error = fails(&[four_rows()[0].clone(), bad], &plain());
        assert!(error.contains("row 1") && error.contains(word), "{error}");
    }
    for (config, word) in [
        (
            TrainConfig {
                epochs: 0.0,
                ..plain()
            },
            "epochs is 0",
        ),
        (
            TrainConfig {
                epochs: f64::NAN,
                ..plain()
            },
            "epochs",
        ),
        (
            TrainConfig {
                accumulation: 0,
                ..plain()
            },
            "accumulation is 0",
        ),
        (
            TrainConfig {
                batch_size: 0,
                ..plain()
            },
            "batch size is 0",
        ),
        (
            TrainConfig {
                learning_rate: -1.0,
                ..plain()
            },
            "learning rate is -1",
        ),
        (
            TrainConfig {
                warmup_ratio: 1.5,
                ..plain()
            },
            "warm-up ratio is 1.5",
        ),
        (
            TrainConfig {
                max_steps: Some(0),
                ..plain()
            },
            "max steps is 0",
        ),
    ] {
        let error = fails(&four_rows(), &config);
        assert!(error.contains(word), "{error}");
    }
}
