//! Going on: from any step, whatever ended the run, the end has the bytes of a run in one go.

use crate::support::{adapter, keep, model, plain, three_rows};
use candle_core::DType;
use lora::{
    AdafactorConfig, Adapter, Checkpoint, CheckpointFolder, LionConfig, MuonConfig, Optim,
    Schedule, Settings, SgdConfig, Snapshot, TrainConfig, TrainError, TrainEvent, TrainOutcome,
    TrainState, Trainable, train_from,
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
        loraplus_lr_embedding: Some(5e-4),
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
            let (progress, moments) = (saved.progress().clone(), snapshot.moments().clone());
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

/// What to go on from after `step` steps, as a folder kept it.
fn kept(step: usize, config: &TrainConfig) -> Checkpoint {
    let mut made = 0;
    let mut stop = |event: TrainEvent| {
        made += usize::from(matches!(event, TrainEvent::Step(_)));
        if made == step {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let (half, _) = run(None, config, &mut stop);
    let dir = tempfile::tempdir().unwrap();
    let folder = CheckpointFolder::new(dir.path());
    let path = folder.save(&half, &Settings::new()).unwrap();
    let kept = Checkpoint::load(path).unwrap();
    // The same bytes are the adapter that is evaluated and kept.
    let values = |adapter: &Adapter| -> Vec<Vec<f32>> {
        let tensors = adapter.tensors();
        tensors
            .values()
            .map(|t| crate::support::values(t))
            .collect()
    };
    assert_eq!(values(&kept.adapter), values(&half.adapter));
    assert_eq!(kept.progress.steps, step);
    kept
}

#[test]
fn every_optimiser_and_every_average_goes_on_from_a_folder_to_the_same_bits() {
    let momentum = |nesterov| SgdConfig {
        momentum: 0.9,
        nesterov,
    };
    let optims = [
        Optim::default(),
        Optim::Sgd(SgdConfig::default()),
        Optim::Sgd(momentum(true)),
        Optim::Adafactor(AdafactorConfig),
        Optim::Lion(LionConfig::default()),
        Optim::Muon(MuonConfig::default()),
    ];
    let mut ends = Vec::new();
    for (optim, ema_decay) in optims.into_iter().flat_map(|o| [(o, None), (o, Some(0.6))]) {
        let config = TrainConfig {
            optim,
            ema_decay,
            ..config()
        };
        let (whole, outcome) = run(None, &config, &mut |_| ControlFlow::Continue(()));
        for step in [1, 4] {
            let kept = kept(step, &config);
            let mut model = model(DType::F32);
            let trainable = Trainable::attach(&kept.adapter, &mut model).unwrap();
            let (progress, moments) = (kept.progress, kept.moments);
            let mut state = TrainState::resume(&trainable, &config, progress, moments).unwrap();
            let (rows, hear) = (three_rows(), &mut |_| ControlFlow::Continue(()));
            let again = train_from(&model, &trainable, &mut state, &rows, &rows, &config, hear);
            assert_eq!(again.unwrap(), outcome, "{optim:?} {ema_decay:?}");
            let again = Snapshot::new(&trainable, &state).unwrap();
            assert_eq!(bits(&again), bits(&whole), "{optim:?} {ema_decay:?}");
            assert_eq!(again.moments(), whole.moments());
        }
        ends.push(bits(&whole).0);
    }
    // Each is another one: no choice is a name alone.
    for (i, end) in ends.iter().enumerate() {
        assert!(ends[..i].iter().all(|other| other != end), "{i}");
    }
}

#[test]
fn what_is_evaluated_and_kept_is_the_average_and_training_does_not_see_it() {
    let averaged = TrainConfig {
        ema_decay: Some(0.9),
        ..config()
    };
    let (mut plain_events, mut events) = (Vec::new(), Vec::new());
    let (plain, _) = run(None, &config(), &mut keep(&mut plain_events));
    let (whole, outcome) = run(None, &averaged, &mut keep(&mut events));
    let losses = |events: &[TrainEvent]| -> Vec<f64> {
        let step = |event: &TrainEvent| match event {
            TrainEvent::Step(record) => Some(record.loss),
            _ => None,
        };
        events.iter().filter_map(step).collect()
    };
    assert_eq!(losses(&events), losses(&plain_events));
    // Its own values, which the folder has beside the average, are those of the run without one.
    for (name, tensor) in plain.adapter.tensors() {
        let own = whole.moments()[&name].iter().find(|b| b.name == "param");
        assert_eq!(own.unwrap().values, crate::support::values(tensor));
    }
    assert_ne!(bits(&whole).0, bits(&plain).0);
    // What was measured is what is kept.
    let model = model(DType::F32);
    let mut attached = model.clone();
    Trainable::attach(&whole.adapter, &mut attached).unwrap();
    let hear = &mut |_| ControlFlow::Continue(());
    let measured = lora::evaluate(&attached, &three_rows(), averaged.batch_size, hear).unwrap();
    let ControlFlow::Continue((loss, _)) = measured else {
        panic!("nobody ended it");
    };
    assert_eq!(Some(loss), outcome.eval_loss);
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
