//! What PEFT 0.21.2 did with the tiny model (`fixtures/scripts/golden_lora.py`).

use crate::support::{
    distance, fixture, json, keep, last_logits, model, packed, plain, rows, tensors, three_rows,
};
use candle_core::DType;
use lora::{Adapter, Engine, StepRecord, TrainConfig, TrainEvent, Trainable, train};
use smollm_model::TrainingOptions;

#[test]
fn pefts_adapter_gives_pefts_logits_attached_and_merged() {
    let golden = tensors("goldens/lora_step/logits.safetensors");
    let adapter = Adapter::load(fixture("goldens/lora_step")).unwrap();
    let mut model = model(DType::F32);
    adapter.attach(&mut model).unwrap();
    let attached = distance(&last_logits(&model, &three_rows()), &golden["last"]);
    assert!(attached < 5e-5, "{attached}");
    lora::detach(&mut model);
    adapter.merge_into(&mut model).unwrap();
    let merged = distance(&last_logits(&model, &three_rows()), &golden["merged_last"]);
    assert!(merged < 5e-5, "{merged}");
    for (name, weight) in model.named_weights() {
        if let Some(theirs) = golden.get(&name) {
            assert!(distance(weight, theirs) < 1e-6, "{name}");
        }
    }
}

#[test]
fn rslora_scales_as_peft_does() {
    let golden = tensors("goldens/lora_rslora/logits.safetensors");
    let adapter = Adapter::load(fixture("goldens/lora_rslora")).unwrap();
    assert_eq!(adapter.config().scale(), 3.0);
    let mut model = model(DType::F32);
    adapter.attach(&mut model).unwrap();
    let rows = rows(&json("goldens/lora_rslora/rows.json")["rows"]);
    let far = distance(&last_logits(&model, &rows), &golden["last"]);
    assert!(far < 5e-5, "{far}");
}

#[test]
fn pefts_file_comes_back_bit_for_bit() {
    for golden in ["goldens/lora_step", "goldens/lora_trace/init_adapter"] {
        let dir = tempfile::tempdir().unwrap();
        Adapter::load(fixture(golden))
            .unwrap()
            .save(dir.path())
            .unwrap();
        let read = |dir: &std::path::Path| {
            let bytes = std::fs::read(dir.join(lora::WEIGHTS_FILE)).unwrap();
            let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
            let mut all: Vec<_> = file
                .iter()
                .map(|(n, v)| (n.to_string(), v.shape().to_vec(), v.data().to_vec()))
                .collect();
            all.sort();
            all
        };
        assert_eq!(read(dir.path()), read(&fixture(golden)), "{golden}");
    }
}

/// Ten steps of two rows from PEFT's own start: losses, norms, and where it ends.
fn follow_peft(model: Engine<'_>, trainable: &Trainable) {
    let golden = json("goldens/lora_trace/trace.json");
    let steps = golden["steps"].as_array().unwrap();
    let all = crate::support::dolly_mini(2 * steps.len());
    let config = TrainConfig {
        learning_rate: 2e-4,
        ..plain()
    };
    let mut events = Vec::new();
    let outcome = train(model, trainable, &all, &[], &config, &mut keep(&mut events)).unwrap();
    assert!(outcome.complete && outcome.steps == 10);
    let ours: Vec<StepRecord> = events
        .into_iter()
        .filter_map(|e| {
            if let TrainEvent::Step(s) = e {
                Some(s)
            } else {
                None
            }
        })
        .collect();
    for (ours, theirs) in ours.iter().zip(steps) {
        let number = |name: &str| theirs[name].as_f64().unwrap();
        assert_eq!(ours.supervised_tokens as f64, number("supervised_tokens"));
        assert_eq!(ours.tokens as f64, number("tokens"));
        assert!(
            (ours.loss - number("loss")).abs() < 1e-5,
            "{ours:?} {theirs}"
        );
        assert!(
            (ours.grad_norm / number("grad_norm") - 1.0).abs() < 1e-5,
            "{ours:?} {theirs}"
        );
    }
    let end = Adapter::load(fixture("goldens/lora_trace/final_adapter")).unwrap();
    let trained = trainable.to_adapter().unwrap();
    for (name, theirs) in end.tensors() {
        assert!(distance(trained.tensors()[&name], theirs) < 1e-5, "{name}");
    }
}

#[test]
fn ten_steps_follow_peft() {
    let mut model = model(DType::F32);
    let start = Adapter::load(fixture("goldens/lora_trace/init_adapter")).unwrap();
    let trainable = Trainable::attach(&start, &mut model).unwrap();
    follow_peft(Engine::Autograd(&model), &trainable);
}

#[test]
fn ten_steps_on_packed_weights_follow_peft() {
    let mut model = packed(TrainingOptions::default());
    let start = Adapter::load(fixture("goldens/lora_trace/init_adapter")).unwrap();
    let trainable = Trainable::beside(&start, model.config()).unwrap();
    follow_peft(Engine::Packed(&mut model), &trainable);
}
