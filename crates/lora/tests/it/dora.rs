//! DoRA: magnitudes as variables, in files, merged, and where they have no place. Numbers of PEFT's: `variants`.

use crate::support::{
    distance, dolly_mini, fixture, keep, last_logits, model, packed, plain, values,
};
use candle_core::{DType, Tensor};
use lora::{
    Adapter, Combination, Factor, InitLoraWeights, LoraConfig, LoraError, Snapshot, TrainConfig,
    TrainState, Trainable, train_from,
};
use smollm_model::ops::row_norms;
use smollm_model::{
    Checkpoint, ModelFiles, Ragged, SiteGradients, TrainingBatch, TrainingOptions, TrainingSite,
};

const GOLDENS: [&str; 2] = ["dora", "dora_patterns"];

fn golden(name: &str) -> Adapter {
    Adapter::load(fixture(&format!("goldens/lora_variants/{name}"))).unwrap()
}

fn checkpoint() -> Checkpoint {
    Checkpoint::open(&ModelFiles::Dir(fixture("tiny-model"))).unwrap()
}

fn config() -> LoraConfig {
    LoraConfig {
        r: 4,
        target_modules: "all-linear".parse().unwrap(),
        use_dora: true,
        ..LoraConfig::default()
    }
}

#[test]
fn a_new_adapter_has_the_rows_norms_and_changes_nothing() {
    for dtype in [DType::F32, DType::BF16] {
        let adapter =
            Adapter::init_as(InitLoraWeights::Default, &checkpoint(), dtype, config(), 3).unwrap();
        let mut model = model(dtype);
        for (site, pair) in adapter.pairs() {
            let norms = row_norms(&model.at(site).weight).unwrap();
            let magnitude = pair.magnitude.as_ref().unwrap();
            assert_eq!(values(magnitude), values(&norms), "{}", site.path());
        }
        // The factors are those that LoRA would start from.
        let plain = LoraConfig {
            use_dora: false,
            ..config()
        };
        let plain = Adapter::init(model.config(), plain, 3).unwrap();
        for (name, tensor) in plain.tensors() {
            assert_eq!(values(tensor), values(adapter.tensors()[&name]), "{name}");
        }
        let rows = dolly_mini(2);
        let base = last_logits(&model, &rows);
        adapter.attach(&mut model).unwrap();
        assert_eq!(values(&last_logits(&model, &rows)), values(&base));
    }
    let error = Adapter::init(checkpoint().config(), config(), 3).unwrap_err();
    assert!(error.to_string().contains("use_dora"), "{error}");
}

/// Gradients of the packed engine, under the variables' names.
fn packed_gradients(start: &Adapter) -> Vec<(String, Vec<f32>)> {
    let mut model = packed(TrainingOptions::default());
    let pairs: Vec<_> = start.pairs().collect();
    let flat: Vec<_> = pairs
        .iter()
        .map(|(_, pair)| {
            let magnitude = pair.magnitude.as_ref().map(values);
            (values(&pair.a), values(&pair.b), magnitude)
        })
        .collect();
    let sites: Vec<TrainingSite<'_>> = pairs
        .iter()
        .zip(&flat)
        .map(|((site, pair), (a, b, magnitude))| TrainingSite {
            site: *site,
            rank: pair.a.dims()[0],
            scale: start.scale(*site),
            dropout: 0.0,
            a,
            b,
            magnitude: magnitude.as_deref(),
        })
        .collect();
    let mut sums: Vec<_> = sites.iter().map(SiteGradients::zeros).collect();
    let rows = dolly_mini(2);
    let labels: usize = rows.iter().map(|row| row.labels.len()).sum();
    for row in &rows {
        let before = row.labels.iter().map(|label| *label as u32 - 1);
        let targets = row.labels.iter().map(|label| row.ids[*label]);
        let inputs = &row.ids[..row.ids.len() - 1];
        let batch = TrainingBatch {
            sequences: &Ragged::new(&[inputs]).unwrap(),
            rows: &before.collect::<Vec<_>>(),
            targets: &targets.collect::<Vec<_>>(),
        };
        let factor = 1.0 / labels as f32;
        model
            .gradients(batch, &sites, 0, factor, &mut sums)
            .unwrap();
    }
    let mut all = Vec::new();
    for ((site, _), sums) in pairs.iter().zip(sums) {
        all.push((Factor::A.tensor_name(*site), sums.a));
        all.push((Factor::B.tensor_name(*site), sums.b));
        all.push((Factor::Magnitude.tensor_name(*site), sums.magnitude));
    }
    all
}

#[test]
fn the_packed_engines_first_gradients_are_pefts() {
    for name in GOLDENS {
        let path = format!("goldens/lora_variants/{name}/first.safetensors");
        let golden_gradients = crate::support::tensors(&path);
        for (tensor, found) in packed_gradients(&golden(name)) {
            let expected = values(&golden_gradients[&tensor]);
            let largest = expected.iter().fold(0f32, |m, x| m.max(x.abs()));
            assert_eq!(found.len(), expected.len());
            let far = found.iter().zip(&expected);
            let far = far.fold(0f32, |m, (x, y)| m.max((x - y).abs()));
            assert!(
                far <= 2e-5 * largest,
                "{name}, {tensor}: {far} of {largest}"
            );
        }
    }
}

#[test]
fn merged_by_us_answers_as_merged_by_peft_and_is_undone_exactly() {
    for name in GOLDENS {
        let path = format!("goldens/lora_variants/{name}/first.safetensors");
        let expected = &crate::support::tensors(&path)["merged_last"];
        let (mut model, rows) = (model(DType::F32), dolly_mini(2));
        let base = last_logits(&model, &rows);
        let merged = golden(name).merge_into(&mut model).unwrap();
        let far = distance(&last_logits(&model, &rows), expected);
        assert!(far < 5e-5, "{name}: {far}");
        assert!(distance(&base, expected) > 0.1, "the adapter must matter");
        merged.undo(&mut model);
        assert_eq!(values(&last_logits(&model, &rows)), values(&base));
    }
}

#[test]
fn going_on_with_magnitudes_gives_the_same_bits() {
    let settings = TrainConfig {
        max_steps: Some(4),
        save_steps: Some(2),
        weight_decay: 0.1,
        loraplus_lr_ratio: Some(4.0),
        ..plain()
    };
    let (rows, no_rows) = (dolly_mini(6), Vec::new());
    let run = |trainable: &Trainable, state: &mut TrainState| {
        let (mut model, mut events) = (packed(TrainingOptions::default()), Vec::new());
        let mut hear = keep(&mut events);
        train_from(
            &mut model, trainable, state, &rows, &no_rows, &settings, &mut hear,
        )
        .unwrap();
        drop(hear);
        events
    };
    let mut start = golden("dora");
    start.set_dropout(0.2).unwrap();
    let trainable = Trainable::beside(&start, checkpoint().config()).unwrap();
    let mut state = TrainState::new(&trainable, &settings);
    let events = run(&trainable, &mut state);
    let whole = Snapshot::new(&trainable, &state).unwrap();
    let snapshot = events.into_iter().find_map(|event| match event {
        lora::TrainEvent::Checkpoint(snapshot) => Some(snapshot),
        _ => None,
    });
    let snapshot = snapshot.unwrap();
    let moments = snapshot.state.moments();
    assert!(
        moments
            .keys()
            .any(|name| name.ends_with("lora_magnitude_vector"))
    );

    let again = Trainable::beside(&snapshot.adapter, checkpoint().config()).unwrap();
    let progress = snapshot.state.progress().clone();
    let mut state = TrainState::resume(&again, &settings, progress, moments.clone()).unwrap();
    run(&again, &mut state);
    let ended = Snapshot::new(&again, &state).unwrap();
    let theirs = whole.adapter.tensors();
    for (name, tensor) in ended.adapter.tensors() {
        assert_eq!(values(tensor), values(theirs[&name]), "{name}");
        assert_ne!(
            values(tensor),
            values(start.tensors()[&name]),
            "{name} moved"
        );
    }
}

#[test]
fn what_has_no_place_for_magnitudes_refuses_them() {
    let (dora, plain) = (golden("dora"), golden("all_linear"));
    let dir = tempfile::tempdir().unwrap();
    let errors = [
        dora.portable(2).unwrap_err(),
        dora.save_mlx(dir.path().join("mlx"), 2).unwrap_err(),
        Adapter::combine(&[(&plain, 1.0), (&dora, 1.0)], Combination::Cat).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, LoraError::Dora { .. }), "{error}");
        assert!(error.to_string().contains("merge it"), "{error}");
    }
    assert!(!dir.path().join("mlx").exists());
}

/// The file of a DoRA adapter, after a change to its tensors or its config.
fn changed(
    change: impl FnOnce(&mut std::collections::HashMap<String, Tensor>),
    dora: bool,
) -> LoraError {
    let (dir, adapter) = (tempfile::tempdir().unwrap(), golden("dora"));
    adapter.save(dir.path()).unwrap();
    let tensors = adapter.tensors().into_iter();
    let mut tensors = tensors.map(|(name, t)| (name, t.clone())).collect();
    change(&mut tensors);
    let weights = dir.path().join(lora::WEIGHTS_FILE);
    candle_core::safetensors::save(&tensors, weights).unwrap();
    if !dora {
        let path = dir.path().join(lora::CONFIG_FILE);
        let text = std::fs::read_to_string(&path).unwrap();
        let off = text.replace("\"use_dora\": true", "\"use_dora\": false");
        assert_ne!(text, off);
        std::fs::write(path, off).unwrap();
    }
    let loaded = Adapter::load(dir.path());
    match loaded.and_then(|adapter| adapter.check(checkpoint().config())) {
        Err(error) => error,
        Ok(()) => panic!("it was read"),
    }
}

#[test]
fn magnitudes_are_read_strictly() {
    let name = "base_model.model.model.layers.1.self_attn.k_proj.lora_magnitude_vector";
    let short = Tensor::new(&[1f32, 2.0], &candle_core::Device::Cpu).unwrap();
    let flat = short.reshape((1, 2)).unwrap();
    let cases = [
        (
            changed(|t| drop(t.remove(name)), true),
            "is missing (expected 42 tensors, found 41)",
        ),
        (changed(|_| {}, false), "the config has no use_dora"),
        (
            changed(|t| drop(t.insert(name.into(), short)), true),
            "[2], expected [32]",
        ),
        (
            changed(|t| drop(t.insert(name.into(), flat)), true),
            "[1, 2], expected [1]",
        ),
    ];
    for (error, words) in cases {
        let text = error.to_string();
        assert!(
            text.contains("lora_magnitude_vector") && text.contains(words),
            "{text}"
        );
    }
    // As a running PEFT model calls it.
    let (dir, adapter) = (tempfile::tempdir().unwrap(), golden("dora"));
    adapter.save(dir.path()).unwrap();
    let live = adapter.tensors().into_iter().map(|(name, tensor)| {
        let name = name.replace("magnitude_vector", "magnitude_vector.default.weight");
        (name, tensor.clone())
    });
    let live: std::collections::HashMap<_, _> = live.collect();
    candle_core::safetensors::save(&live, dir.path().join(lora::WEIGHTS_FILE)).unwrap();
    assert_eq!(
        Adapter::load(dir.path()).unwrap().parameters(),
        adapter.parameters()
    );
}
