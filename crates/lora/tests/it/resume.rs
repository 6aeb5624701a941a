//! Going on: from any step, whatever ended the run, the end has the bytes of a run in one go.

use crate::support::{adapter, keep, model, plain, three_rows};
use candle_core::DType;
use lora::{
    Adapter, Schedule, Snapshot, TrainConfig, TrainError, TrainEvent, TrainOutcome, TrainState,
    Trainable, train_from,
};
use std::ops::ControlFlow;

fn config() -> TrainConfig {
    TrainConfig {
        max_steps: Some(7),
        shuffle: true,
        schedule: Schedule::Cosine,
        warmup_ratio: 0.2,
        weight_decay: 0.05,
        eval_steps: Some(3),
        save_steps: Some(2),
        load_best_model_at_end: true,
        loraplus_lr_ratio: Some(4.0),
        ..plain()
    }
}

fn start() -> Adapter {
    let mut start = adapter(&model(DType::F32), true);
    start.set_dropout(0.2).unwrap();
    start
}

/// Runs from a snapshot (or the start) and hears events until `hear` says no.
fn run(
    from: Option<&Snapshot>,
    config: &TrainConfig,
    hear: &mut dyn FnMut(TrainEvent) -> ControlFlow<()>,
) -> (Snapshot, TrainOutcome) {
    let mut model = model(DType::F32);
    let (trainable, mut state) = match from {
        None => {
            let trainable = Trainable::attach(&start(), &mut model).unwrap();
            let state = TrainState::new(&trainable, config);
            (trainable, state)
        }
        Some(snapshot) => {
            let trainable = Trainable::attach(&snapshot.adapter, &mut model).unwrap();
            let saved = &snapshot.state;
            let (progress, moments) = (saved.progress().clone(), saved.moments().clone());
            let state = TrainState::resume(&trainable, config, progress, moments).unwrap();
            (trainable, state)
        }
    };
    let (rows, eval_rows) = (three_rows(), three_rows());
    let outcome = train_from(
        &model, &trainable, &mut state, &rows, &eval_rows, config, hear,
    );
    (Snapshot::new(&trainable, &state).unwrap(), outcome.unwrap())
}

/// What must be equal at the end.
fn bits(snapshot: &Snapshot) -> (Vec<Vec<f32>>, TrainState) {
    let tensors = snapshot.adapter.tensors();
    let values = tensors.values().map(|t| crate::support::values(t));
    (values.collect(), snapshot.state.clone())
}

#[test]
fn an_end_at_any_event_is_gone_on_from_to_the_same_bits() {
    let mut events = Vec::new();
    let (whole, outcome) = run(None, &config(), &mut keep(&mut events));
    assert!(outcome.complete && outcome.steps == 7 && outcome.best.is_some());
    let batches = |e: &TrainEvent| matches!(e, TrainEvent::Batch { .. });
    assert!(events.iter().any(batches));
    for end in 1..events.len() {
        let mut left = end;
        let mut stop = |_: TrainEvent| {
            left -= 1;
            if left == 0 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let (half, first) = run(None, &config(), &mut stop);
        assert!(!first.complete || end + 1 >= events.len(), "event {end}");
        let (again, second) = run(Some(&half), &config(), &mut |_| ControlFlow::Continue(()));
        assert_eq!(bits(&again), bits(&whole), "ended at event {end}");
        assert_eq!(second, outcome, "ended at event {end}");
    }
}

#[test]
fn every_checkpoint_is_gone_on_from_to_the_same_bits() {
    let mut events = Vec::new();
    let (whole, _) = run(None, &config(), &mut keep(&mut events));
    let mut saved = Vec::new();
    for event in events {
        if let TrainEvent::Checkpoint(snapshot) = event {
            saved.push(snapshot.state.progress().steps);
            let (again, _) = run(Some(&snapshot), &config(), &mut |_| {
                ControlFlow::Continue(())
            });
            assert_eq!(bits(&again), bits(&whole), "from {saved:?}");
        }
    }
    // Every second step, and after evaluations that are the best so far.
    assert!(
        [2, 4, 6].iter().all(|step| saved.contains(step)),
        "{saved:?}"
    );
    let best = whole.state.progress().best.clone().unwrap().step;
    assert!(saved.contains(&best), "{best}: {saved:?}");
}

#[test]
fn patience_ends_the_run_as_planned() {
    let hopeless = TrainConfig {
        learning_rate: 0.5,
        schedule: Schedule::Constant,
        eval_steps: Some(1),
        early_stopping_patience: Some(2),
        max_steps: Some(50),
        ..config()
    };
    let (snapshot, outcome) = run(None, &hopeless, &mut |_| ControlFlow::Continue(()));
    let best = outcome.best.clone().unwrap();
    assert!(outcome.complete && outcome.stopped_early && outcome.steps < 50);
    assert_eq!(outcome.steps, best.step + 2);
    // Asked to go on, it knows that it is over.
    let (_, again) = run(Some(&snapshot), &hopeless, &mut |_| {
        panic!("nothing is left")
    });
    assert_eq!(again, outcome);
}

#[test]
fn states_that_do_not_fit_are_refused() {
    let short = TrainConfig {
        max_steps: Some(3),
        ..config()
    };
    let (snapshot, _) = run(None, &config(), &mut |_| ControlFlow::Continue(()));
    let mut model = model(DType::F32);
    let trainable = Trainable::attach(&snapshot.adapter, &mut model).unwrap();
    let mut state = snapshot.state.clone();
    let rows = three_rows();
    let mut go = |config: &TrainConfig, eval: &[lora::Sample]| {
        let hear = &mut |_| ControlFlow::Continue(());
        train_from(&model, &trainable, &mut state, &rows, eval, config, hear).unwrap_err()
    };
    let error = go(&short, &rows);
    assert!(
        matches!(
            error,
            TrainError::Beyond {
                steps: 7,
                planned: 3,
                ..
            }
        ),
        "{error}"
    );
    let patient = TrainConfig {
        early_stopping_patience: Some(1),
        ..config()
    };
    for config in [patient, config()] {
        let error = go(&config, &[]).to_string();
        assert!(error.contains("without evaluation rows"), "{error}");
    }
    let other = Adapter::init(model_config(), lora::LoraConfig::default(), 1).unwrap();
    let mut model = crate::support::model(DType::F32);
    let trainable = Trainable::attach(&other, &mut model).unwrap();
    let saved = (state.progress().clone(), state.moments().clone());
    let error = TrainState::resume(&trainable, &config(), saved.0, saved.1).unwrap_err();
    assert!(matches!(error, TrainError::Moments { .. }), "{error}");
}

fn model_config() -> &'static lora::smollm_model::ModelConfig {
    static CONFIG: std::sync::OnceLock<lora::smollm_model::ModelConfig> =
        std::sync::OnceLock::new();
    CONFIG.get_or_init(|| model(DType::F32).config().clone())
}
