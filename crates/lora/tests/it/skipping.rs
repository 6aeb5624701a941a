//! Updates whose loss is no number, passed over.

use crate::support::{adapter, model, plain, three_rows, values};
use candle_core::{DType, Tensor, Var};
use lora::{
    Moments, OnNan, TrainConfig, TrainError, TrainEvent, TrainOutcome, TrainState, Trainable,
    train_from,
};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// What a run ends with: values, moments, progress.
type End = (Vec<Vec<f32>>, BTreeMap<String, Moments>, lora::Progress);

/// A run of six steps in which a variable is spoilt before each of the steps `bad` and mended after it; goes on from
/// `from` where that is given, and ends after step `until`.
fn run(
    bad: &[usize],
    on_nan: OnNan,
    from: Option<&(Trainable, End)>,
    until: usize,
) -> (Result<TrainOutcome, TrainError>, Vec<usize>, Trainable, End) {
    let config = TrainConfig {
        max_steps: Some(6),
        on_nan,
        ..plain()
    };
    let mut model = model(DType::F32);
    let start = match from {
        None => adapter(&model, true),
        Some((trainable, _)) => trainable.to_adapter().unwrap(),
    };
    let trainable = Trainable::attach(&start, &mut model).unwrap();
    let mut state = match from {
        None => TrainState::new(&trainable, &config),
        Some((_, (_, moments, progress))) => {
            TrainState::resume(&trainable, &config, progress.clone(), moments.clone()).unwrap()
        }
    };
    let var: &Var = trainable.vars().values().next().unwrap();
    let nan = Tensor::full(f32::NAN, var.shape(), var.device()).unwrap();
    let good = std::cell::RefCell::new(None);
    let spoil = |step: usize| {
        if bad.contains(&step) {
            *good.borrow_mut() = Some(var.as_detached_tensor().copy().unwrap());
            var.set(&nan).unwrap();
        }
    };
    let first = state.progress().steps + 1;
    spoil(first);
    let mut skipped = Vec::new();
    let mut hear = |event: TrainEvent| {
        let step = match event {
            TrainEvent::Step(record) => record.step,
            TrainEvent::Skipped(record) => {
                assert!(record.skipped.contains("NaN"), "{record:?}");
                skipped.push(record.step);
                record.step
            }
            _ => return ControlFlow::Continue(()),
        };
        if let Some(good) = good.borrow_mut().take() {
            var.set(&good).unwrap();
        }
        if step == until {
            return ControlFlow::Break(());
        }
        spoil(step + 1);
        ControlFlow::Continue(())
    };
    let rows = three_rows();
    let no_rows: &[lora::Sample] = &[];
    let outcome = train_from(
        &model, &trainable, &mut state, &rows, no_rows, &config, &mut hear,
    );
    let all = trainable.vars().values().map(|var| values(var));
    let end = (
        all.collect(),
        state.moments().clone(),
        state.progress().clone(),
    );
    (outcome, skipped, trainable, end)
}

const SKIP: OnNan = OnNan::Skip { in_a_row: 2 };

#[test]
fn a_step_that_is_passed_over_moves_nothing_and_the_run_goes_on() {
    let (_, _, _, before) = run(&[3], SKIP, None, 2);
    let (_, _, _, after) = run(&[3], SKIP, None, 3);
    assert_eq!((&before.0, &before.1), (&after.0, &after.1));
    let (outcome, skipped, _, whole) = run(&[3, 5], SKIP, None, 9);
    let outcome = outcome.unwrap();
    assert_eq!(skipped, [3, 5]);
    assert!(outcome.complete && outcome.steps == 6 && outcome.skipped == 2);
    assert_ne!(whole.0, after.0);
    // Going on from any step, skipped ones included, ends with the same bits.
    for until in 1..6 {
        let (_, _, trainable, half) = run(&[3, 5], SKIP, None, until);
        let (_, _, _, end) = run(&[3, 5], SKIP, Some(&(trainable, half)), 9);
        assert_eq!(end, whole, "from step {until}");
    }
}

#[test]
fn too_many_in_a_row_end_the_run_and_without_leave_the_first_does() {
    let (outcome, skipped, ..) = run(&[2, 3, 5, 6], SKIP, None, 9);
    assert!(outcome.unwrap().complete, "never more than two in a row");
    assert_eq!(skipped, [2, 3, 5, 6]);
    let (outcome, skipped, ..) = run(&[3, 4, 5], SKIP, None, 9);
    let error = outcome.unwrap_err();
    assert!(
        matches!(error, TrainError::Skipped { in_a_row: 2, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("step 5"), "{error}");
    assert_eq!(skipped, [3, 4]);
    let (outcome, ..) = run(&[3], OnNan::Error, None, 9);
    assert!(
        matches!(outcome, Err(TrainError::NotFinite { step: 3, .. })),
        "{outcome:?}"
    );
}
