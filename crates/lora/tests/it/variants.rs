//! LoRA's variants against PEFT 0.21.2 (`fixtures/scripts/golden_lora_variants.py`): where the
//! adapters sit, the logits, the gradients of a first window, and ten steps.

use crate::support::{
    distance, dolly_mini, fixture, json, keep, last_logits, model, packed, plain, records, tensors,
};
use candle_core::DType;
use lora::{Adapter, Engine, TrainConfig, Trainable, train};
use smollm_model::TrainingOptions;

const VARIANTS: [&str; 21] = [
    "rslora",
    "patterns",
    "patterns_rslora",
    "layers",
    "exclude",
    "exclude_regex",
    "all_linear",
    "regex",
    "endings",
    "loraplus",
    "loraplus_dora",
    "dora",
    "dora_patterns",
    "bias_all",
    "bias_lora_only",
    "embed",
    "head",
    "embed_head",
    "embed_regex",
    "dora_head",
    "loraplus_embed",
];

fn folder(name: &str) -> String {
    format!("goldens/lora_variants/{name}")
}

#[test]
fn logits_are_pefts_attached_and_merged() {
    for name in VARIANTS {
        let golden = tensors(&format!("{}/first.safetensors", folder(name)));
        let adapter = Adapter::load(fixture(&folder(name))).unwrap();
        let rows = dolly_mini(2);
        let mut model = model(DType::F32);
        adapter.attach(&mut model).unwrap();
        let far = distance(&last_logits(&model, &rows), &golden["last"]);
        assert!(far < 5e-5, "{name}: {far}");
        lora::detach(&mut model);
        adapter.merge_into(&mut model).unwrap();
        let far = distance(&last_logits(&model, &rows), &golden["last"]);
        assert!(far < 5e-5, "{name}, merged: {far}");
        if let Some(merged) = golden.get("merged_last") {
            let far = distance(&last_logits(&model, &rows), merged);
            assert!(far < 5e-5, "{name}, merged by PEFT: {far}");
        }
    }
}

#[test]
fn what_we_write_peft_would_have_written() {
    for name in VARIANTS {
        let dir = tempfile::tempdir().unwrap();
        let adapter = Adapter::load(fixture(&folder(name))).unwrap();
        adapter.save(dir.path()).unwrap();
        let again = Adapter::load(dir.path()).unwrap();
        assert_eq!(again.config(), adapter.config(), "{name}");
        let theirs = tensors(&format!("{}/adapter_model.safetensors", folder(name)));
        let ours = again.tensors();
        // Beside adapters of embedding and head PEFT saves the base's own matrices, too.
        let theirs = theirs.keys().filter(|name| !name.contains("base_layer"));
        assert!(ours.keys().eq(theirs), "{name}");
        let written = std::fs::read(dir.path().join(lora::CONFIG_FILE)).unwrap();
        let written: serde_json::Value = serde_json::from_slice(&written).unwrap();
        let golden = json(&format!("{}/adapter_config.json", folder(name)));
        for field in [
            "r",
            "lora_alpha",
            "use_rslora",
            "use_dora",
            "rank_pattern",
            "alpha_pattern",
            "layers_to_transform",
            "bias",
        ] {
            assert_eq!(written[field], golden[field], "{name}: {field}");
        }
    }
}

#[test]
fn the_first_gradients_and_ten_steps_are_pefts() {
    for name in VARIANTS {
        let golden = tensors(&format!("{}/first.safetensors", folder(name)));
        let trace = json(&format!("{}/trace.json", folder(name)));
        let steps = trace["steps"].as_array().unwrap();
        let rows = dolly_mini(2 * steps.len());
        let mut model = model(DType::F32);
        let start = Adapter::load(fixture(&folder(name))).unwrap();
        let trainable = Trainable::attach(&start, &mut model).unwrap();
        let grads = crate::gradients::loss(&model, &rows[..2])
            .backward()
            .unwrap();
        // What PEFT trains has a gradient there, beside `last`.
        let trained = golden.keys().filter(|name| name.contains("lora_"));
        assert!(trained.eq(trainable.vars().keys()), "{name}");
        for (tensor, var) in trainable.vars() {
            let theirs = &golden[tensor];
            let values = crate::support::values(theirs);
            let largest = values.iter().fold(0f32, |m, x| m.max(x.abs()));
            let far = distance(grads.get(var).unwrap(), theirs);
            assert!(
                far <= 2e-5 * largest,
                "{name}, {tensor}: {far} of {largest}"
            );
        }
        let config = TrainConfig {
            learning_rate: trace["lr"].as_f64().unwrap(),
            loraplus_lr_ratio: trace["loraplus_lr_ratio"].as_f64(),
            loraplus_lr_embedding: trace["loraplus_lr_embedding"].as_f64(),
            ..plain()
        };
        let mut on_packed = packed(TrainingOptions::default());
        let beside = Trainable::beside(&start, on_packed.config()).unwrap();
        let engines: [(Engine<'_>, &Trainable); 2] = [
            ((&model).into(), &trainable),
            ((&mut on_packed).into(), &beside),
        ];
        for (engine, trainable) in engines {
            let mut events = Vec::new();
            let mut hear = keep(&mut events);
            train(engine, trainable, &rows, &[], &config, &mut hear).unwrap();
            drop(hear);
            let (ours, _) = records(events);
            assert_eq!(ours.len(), steps.len());
            for (ours, theirs) in ours.iter().zip(steps) {
                let number = |field: &str| theirs[field].as_f64().unwrap();
                let loss = (ours.loss - number("loss")).abs();
                let norm = (ours.grad_norm / number("grad_norm") - 1.0).abs();
                assert!(loss < 2e-5 && norm < 1e-4, "{name}: {ours:?} {theirs}");
            }
        }
    }
}

/// The model has no biases to learn: PEFT's `loraplus` variant starts as these do, with `bias = none`, so that its first
/// loss and gradients, before a step is made, are theirs bit for bit.
#[test]
fn in_peft_too_bias_trains_nothing_more() {
    let of = |name: &str| tensors(&format!("{}/first.safetensors", folder(name)));
    let loss = |name: &str| json(&format!("{}/trace.json", folder(name)))["steps"][0].clone();
    let none = of("loraplus");
    let config = json(&format!("{}/adapter_config.json", folder("loraplus")));
    assert_eq!(config["bias"], "none");
    for name in ["bias_all", "bias_lora_only"] {
        let biased = of(name);
        assert!(biased.keys().eq(none.keys()), "{name}");
        for (tensor, theirs) in &biased {
            assert_eq!(distance(theirs, &none[tensor]), 0.0, "{name}, {tensor}");
        }
        assert_eq!(loss(name), loss("loraplus"), "{name}");
    }
    // And the two go the same way to the end.
    let steps = |name: &str| json(&format!("{}/trace.json", folder(name)))["steps"].clone();
    assert_eq!(steps("bias_all"), steps("bias_lora_only"));
}

/// An adapter in fewer layers than its model has trains those alone, and fits no smaller model.
#[test]
fn layers_beyond_the_model_are_refused() {
    let model = model(DType::F32);
    let layers = |list: &[usize]| lora::LoraConfig {
        layers_to_transform: Some(list.to_vec()),
        ..lora::LoraConfig::default()
    };
    let adapter = Adapter::init(model.config(), layers(&[1]), 1).unwrap();
    assert!(adapter.pairs().all(|(site, _)| site.layer() == Some(1)));
    adapter.check(model.config()).unwrap();
    let one_layer = lora::smollm_model::ModelConfig {
        num_hidden_layers: 1,
        ..model.config().clone()
    };
    let error = adapter.check(&one_layer).unwrap_err().to_string();
    assert!(error.contains("2 layers"), "{error}");
    let beyond = Adapter::init(model.config(), layers(&[1, 7]), 1).unwrap_err();
    assert!(beyond.to_string().contains("layers.7."), "{beyond}");
}
