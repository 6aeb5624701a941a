//! `PiSSA` and `OLoRA` against PEFT 0.21.2 (`fixtures/scripts/golden_lora_variants.py`): the factors, the logits, the
//! gradients and ten steps beside what is left of the base, on both engines, and the plain adapter that comes of it.

use crate::support::{
    adapter, distance, dolly_mini, fixture, ignore, json, keep, last_logits, model, plain, records,
    tensors, trained, values,
};
use candle_core::{DType, Device, Tensor};
use lora::{
    Adapter, Factor, InitLoraWeights, LoraConfig, LoraError, Residual, Snapshot, StepRecord,
    TrainConfig, TrainState, Trainable, train, train_from,
};
use smollm_model::{Checkpoint, Llama, ModelFiles, TrainingLlama, TrainingOptions};

const CHANGED: [(&str, InitLoraWeights); 4] = [
    ("pissa", InitLoraWeights::Pissa),
    ("olora", InitLoraWeights::Olora),
    ("pissa_rslora", InitLoraWeights::Pissa),
    ("olora_patterns", InitLoraWeights::Olora),
];

fn folder(name: &str) -> String {
    format!("goldens/lora_variants/{name}")
}

/// The factors that PEFT started from.
fn start(name: &str) -> Adapter {
    Adapter::load(fixture(&folder(name))).unwrap()
}

fn base() -> Checkpoint {
    Checkpoint::open(&ModelFiles::Dir(fixture("tiny-model"))).unwrap()
}

/// The base without PEFT's factors.
fn without(residual: &Residual) -> Checkpoint {
    let mut base = base();
    residual.take_out_of(&mut base).unwrap();
    base
}

fn differentiable(base: &Checkpoint, dtype: DType) -> Llama {
    Llama::load(base, dtype, &Device::Cpu).unwrap()
}

fn packed(base: &Checkpoint) -> TrainingLlama {
    TrainingLlama::load(base, TrainingOptions::default()).unwrap()
}

/// `s B A` of each site.
fn updates(adapter: &Adapter) -> Vec<(String, Tensor)> {
    let update = |(site, pair): (lora::Site, &lora::Pair)| {
        let product = pair.b.matmul(&pair.a).unwrap() * adapter.scale(site);
        (site.path(), product.unwrap())
    };
    adapter.pairs().map(update).collect()
}

#[test]
fn what_is_taken_out_of_each_weight_is_what_peft_takes() {
    for (name, init) in CHANGED {
        let theirs = start(name);
        let ours = Adapter::init_as(init, &base(), DType::F32, theirs.config().clone(), 1).unwrap();
        for ((path, ours), (_, theirs)) in updates(&ours).iter().zip(updates(&theirs)) {
            let largest = values(&theirs).iter().fold(0f32, |m, x| m.max(x.abs()));
            let far = distance(ours, &theirs);
            // PEFT decomposes in f32.
            assert!(far < 2e-5 * largest, "{name}, {path}: {far} of {largest}");
        }
        // Each column of B and row of A, but for one sign that both share.
        for ((site, ours), (_, theirs)) in ours.pairs().zip(theirs.pairs()) {
            let (a, b) = (values(&ours.a), values(&theirs.a));
            for (ours, theirs) in a.chunks(ours.a.dims()[1]).zip(b.chunks(ours.a.dims()[1])) {
                let far = |sign: f32| {
                    let pairs = ours.iter().zip(theirs);
                    pairs.fold(0f32, |m, (x, y)| m.max((x - sign * y).abs()))
                };
                let far = far(1.0).min(far(-1.0));
                assert!(far < 2e-5, "{name}, {}: {far}", site.path());
            }
        }
    }
}

#[test]
fn an_adapter_of_another_run_is_no_residual_of_this_one() {
    let model = model(DType::F32);
    let other = adapter(&model, true);
    let config = start("pissa").config().clone();
    let error = Residual::split(&config, &other).unwrap_err();
    assert!(matches!(error, LoraError::Residual { .. }), "{error}");
    let residual = Residual::new(start("pissa_rslora"));
    let error = residual.plain(&other).unwrap_err().to_string();
    assert!(error.contains("k_proj"), "{error}");
}

fn steps_of(name: &str) -> Vec<(f64, f64)> {
    let trace = json(&format!("{}/trace.json", folder(name)));
    let step = |step: &serde_json::Value| {
        let number = |field: &str| step[field].as_f64().unwrap();
        (number("loss"), number("grad_norm"))
    };
    trace["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(step)
        .collect()
}

fn assert_follows(name: &str, ours: &[StepRecord]) {
    let theirs = steps_of(name);
    assert_eq!(ours.len(), theirs.len());
    for (ours, (loss, norm)) in ours.iter().zip(theirs) {
        assert!((ours.loss - loss).abs() < 2e-5, "{name}: {ours:?} {loss}");
        let far = (ours.grad_norm / norm - 1.0).abs();
        assert!(far < 1e-4, "{name}: {ours:?} {norm}");
    }
}

/// The plain adapter against PEFT's, and its logits beside the whole base against those beside the residual.
fn assert_plain_is_pefts(name: &str, plain: &Adapter) {
    let converted = Adapter::load(fixture(&format!("{}/converted", folder(name)))).unwrap();
    assert_eq!(plain.config(), converted.config(), "{name}");
    let theirs = converted.tensors();
    for (tensor, ours) in plain.tensors() {
        let far = distance(ours, theirs[&tensor]);
        assert!(far < 1e-4, "{name}, {tensor}: {far}");
    }
    let golden = tensors(&format!("{}/last.safetensors", folder(name)));
    for (adapter, limit) in [(&converted, 5e-5), (plain, 3e-4)] {
        let mut model = model(DType::F32);
        adapter.attach(&mut model).unwrap();
        let ours = last_logits(&model, &dolly_mini(2));
        for place in ["last", "beside_residual"] {
            let far = distance(&ours, &golden[place]);
            assert!(far < limit, "{name}, {place}: {far}");
        }
    }
}

#[test]
fn logits_and_first_gradients_beside_the_residual_are_pefts() {
    for (name, _) in CHANGED {
        let golden = tensors(&format!("{}/first.safetensors", folder(name)));
        let residual = Residual::new(start(name));
        let mut model = differentiable(&without(&residual), DType::F32);
        let trainable = Trainable::attach(residual.start(), &mut model).unwrap();
        let rows = dolly_mini(2);
        let far = distance(&last_logits(&model, &rows), &golden["last"]);
        assert!(far < 5e-5, "{name}: {far}");
        let grads = crate::gradients::loss(&model, &rows).backward().unwrap();
        assert_eq!(trainable.vars().len() + 1, golden.len());
        for (tensor, var) in trainable.vars() {
            let theirs = &golden[tensor];
            let largest = values(theirs).iter().fold(0f32, |m, x| m.max(x.abs()));
            let far = distance(grads.get(var).unwrap(), theirs);
            assert!(
                far <= 3e-5 * largest,
                "{name}, {tensor}: {far} of {largest}"
            );
        }
    }
}

#[test]
fn ten_steps_are_pefts_on_both_engines_and_so_is_the_plain_adapter() {
    for (name, _) in CHANGED {
        let residual = Residual::new(start(name));
        let base = without(&residual);
        let rows = dolly_mini(20);
        let config = plain();

        let mut model = differentiable(&base, DType::F32);
        let trainable = Trainable::attach(residual.start(), &mut model).unwrap();
        let trainable = trainable.over(Some(residual.clone()));
        let events = trained(&model, &trainable, (&rows, &[]), &config);
        assert_follows(name, &records(events).0);
        assert_plain_is_pefts(name, &trainable.to_adapter().unwrap());

        let mut model = packed(&base);
        let trainable = Trainable::beside(residual.start(), model.config()).unwrap();
        let trainable = trainable.over(Some(residual));
        let events = trained(&mut model, &trainable, (&rows, &[]), &config);
        assert_follows(name, &records(events).0);
        assert_plain_is_pefts(name, &trainable.to_adapter().unwrap());
    }
}

#[test]
fn before_the_first_step_the_plain_adapter_changes_nothing() {
    for (name, init) in CHANGED {
        let config = start(name).config().clone();
        let start = Adapter::init_as(init, &base(), DType::F32, config, 1).unwrap();
        let residual = Residual::new(start.clone());
        let rows = dolly_mini(2);
        let mut model = model(DType::F32);
        let untouched = last_logits(&model, &rows);
        residual.plain(&start).unwrap().attach(&mut model).unwrap();
        let far = distance(&last_logits(&model, &rows), &untouched);
        assert!(far < 5e-5, "{name}: {far}");
        // And the residual with the factors is the base.
        let mut model = differentiable(&without(&residual), DType::F32);
        let bare = distance(&last_logits(&model, &rows), &untouched);
        start.attach(&mut model).unwrap();
        let far = distance(&last_logits(&model, &rows), &untouched);
        assert!(far < 5e-5 && bare > 0.1, "{name}: {far}, without {bare}");
    }
}

#[test]
fn a_run_goes_on_from_its_plain_adapter_to_the_same_bits() {
    let config = TrainConfig {
        max_steps: Some(6),
        save_steps: Some(1),
        shuffle: true,
        weight_decay: 0.05,
        neftune_noise_alpha: Some(5.0),
        ..plain()
    };
    for name in ["pissa", "olora_patterns", "pissa_rslora"] {
        let mut first = start(name);
        first.set_dropout(0.1).unwrap();
        let rows = dolly_mini(8);
        let run = |from: Option<&Snapshot>| {
            let (begun, residual) = match from {
                None => (first.clone(), Residual::new(first.clone())),
                Some(saved) => {
                    // As it is read from a file.
                    let dir = tempfile::tempdir().unwrap();
                    saved.adapter.save(dir.path()).unwrap();
                    let read = Adapter::load(dir.path()).unwrap();
                    Residual::split(first.config(), &read).unwrap()
                }
            };
            let mut model = packed(&without(&residual));
            let trainable = Trainable::beside(&begun, model.config()).unwrap();
            let trainable = trainable.over(Some(residual));
            let mut state = match from {
                None => TrainState::new(&trainable, &config),
                Some(saved) => {
                    let state = &saved.state;
                    let parts = (state.progress().clone(), state.moments().clone());
                    TrainState::resume(&trainable, &config, parts.0, parts.1).unwrap()
                }
            };
            let mut events = Vec::new();
            let none: &[lora::Sample] = &[];
            train_from(
                &mut model,
                &trainable,
                &mut state,
                &rows,
                none,
                &config,
                &mut keep(&mut events),
            )
            .unwrap();
            (Snapshot::new(&trainable, &state).unwrap(), events)
        };
        let bits = |snapshot: &Snapshot| {
            let tensors = snapshot.adapter.tensors();
            let values = tensors.values().map(|t| values(t));
            (values.collect::<Vec<_>>(), snapshot.state.clone())
        };
        let (whole, events) = run(None);
        let mut saved = 0;
        for event in events {
            if let lora::TrainEvent::Checkpoint(snapshot) = event {
                saved += 1;
                assert_eq!(
                    bits(&run(Some(&snapshot)).0),
                    bits(&whole),
                    "{name}, {saved}"
                );
            }
        }
        assert_eq!(saved, 6);
    }
}

#[test]
fn a_base_in_bf16_has_its_residual_rounded_once() {
    let residual = Residual::new(start("pissa"));
    let base = without(&residual);
    let (f32s, bf16s) = (
        differentiable(&base, DType::F32),
        differentiable(&base, DType::BF16),
    );
    for (site, _) in residual.start().pairs() {
        let exact = &f32s.at(site).weight;
        let rounded = &bf16s.at(site).weight;
        let expected = exact.to_dtype(DType::BF16).unwrap();
        assert_eq!(distance(rounded, &expected), 0.0, "{}", site.path());
    }
}

#[test]
fn what_peft_saves_without_its_conversion_is_refused_with_the_remedy() {
    for (name, _) in CHANGED {
        let dir = tempfile::tempdir().unwrap();
        let copy = |from: &str, to: &str| {
            std::fs::copy(fixture(&folder(name)).join(from), dir.path().join(to)).unwrap();
        };
        copy("unconverted.json", lora::CONFIG_FILE);
        copy("adapter_model.safetensors", lora::WEIGHTS_FILE);
        let error = Adapter::load(dir.path()).unwrap_err().to_string();
        for word in [
            "init_lora_weights",
            "path_initial_model_for_weight_conversion",
        ] {
            assert!(error.contains(word), "{name}: {error}");
        }
    }
}

#[test]
fn training_beside_the_residual_learns_from_the_factors_on() {
    // With a rate of 0 nothing moves: A and B stay those of the start, and the plain adapter says so in its halves.
    let first = start("pissa");
    let residual = Residual::new(first.clone());
    let mut model = packed(&without(&residual));
    let trainable = Trainable::beside(&first, model.config()).unwrap();
    let trainable = trainable.over(Some(residual));
    let config = TrainConfig {
        learning_rate: 0.0,
        ..plain()
    };
    train(
        &mut model,
        &trainable,
        &dolly_mini(2),
        &[],
        &config,
        &mut ignore,
    )
    .unwrap();
    let plain = trainable.to_adapter().unwrap();
    for ((site, pair), (_, start)) in plain.pairs().zip(first.pairs()) {
        let r = start.a.dims()[0];
        let a = |from| pair.a.narrow(0, from, r).unwrap();
        let b = |from| pair.b.narrow(1, from, r).unwrap();
        for (found, expected) in [
            (a(0), start.a.clone()),
            (a(r), start.a.clone()),
            (b(0), start.b.clone()),
            (b(r), start.b.neg().unwrap()),
        ] {
            assert_eq!(distance(&found, &expected), 0.0, "{}", site.path());
        }
        assert_eq!(plain.scale(site), first.scale(site));
    }
    let config: &LoraConfig = plain.config();
    assert_eq!((config.r, config.lora_alpha), (6, 10.0));
    let name = |factor: Factor| factor.tensor_name(plain.pairs().next().unwrap().0);
    assert!(plain.tensors().contains_key(&name(Factor::A)));
}
