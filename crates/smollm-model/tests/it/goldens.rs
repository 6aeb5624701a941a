//! Logits and greedy answers that transformers gave on the same weights.

use std::ops::ControlFlow;

use candle_core::{DType, Device};
use smollm_model::{FinishReason, GenerationConfig, Llama, ModelFiles, generate};

use crate::{fixtures, golden, ids, largest_difference, logits, open, tiny};

fn assert_last_logits(model: &Llama, name: &str, tolerance: f32) {
    let file = fixtures().join("goldens/logits.safetensors");
    let tensors = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
    for (i, prompt) in golden("logits.json")["prompts"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
    {
        let found = logits(model, &ids(&prompt["ids"]));
        let last = found.get(found.dim(0).unwrap() - 1).unwrap();
        let expected = tensors[&format!("{name}.last")].get(i).unwrap();
        let worst = largest_difference(&last, &expected);
        assert!(
            worst < tolerance,
            "{name}, prompt {}: logits differ by {worst:e}",
            prompt["name"]
        );
        if let Some(full) =
            tensors.get(&format!("{name}.full.{}", prompt["name"].as_str().unwrap()))
        {
            let worst = largest_difference(&found, full);
            assert!(
                worst < tolerance,
                "{name}, all of {}: {worst:e}",
                prompt["name"]
            );
        }
    }
}

fn assert_greedy(model: &Llama, part: &str) {
    let prompts = golden("logits.json");
    let golden = golden("greedy.json");
    for case in golden[part].as_array().unwrap() {
        let prompt = prompts["prompts"]
            .as_array()
            .unwrap()
            .iter()
            .find(|p| p["name"] == case["name"]);
        let config = GenerationConfig {
            max_new_tokens: case["max_new_tokens"].as_u64().unwrap() as usize,
            stop_ids: vec![2, 0],
            ..GenerationConfig::default()
        };
        let prompt = ids(&prompt.unwrap()["ids"]);
        let found = generate(
            model,
            &[prompt],
            &config,
            &mut |_| ControlFlow::Continue(()),
        )
        .unwrap();
        assert_eq!(
            found[0].ids,
            ids(&case["new_ids"]),
            "{part}: {}",
            case["name"]
        );
        let stopped = case["finish_reason"] == "stop";
        assert_eq!(
            found[0].finish_reason == FinishReason::Stop,
            stopped,
            "{}",
            case["name"]
        );
    }
}

#[test]
fn logits_and_answers_equal_transformers() {
    let model = tiny();
    assert_last_logits(&model, "f32", 5e-5);
    assert_greedy(&model, "short");
    assert_greedy(&model, "long");
}

#[test]
fn quantised_files_equal_transformers_on_the_dequantised_weights() {
    let model = open(
        &ModelFiles::Gguf(fixtures().join("tiny-model-q8_0.gguf")),
        DType::F32,
    );
    assert_last_logits(&model, "q8_0", 5e-5);
    assert_greedy(&model, "q8_0");
    let model = open(
        &ModelFiles::Gguf(fixtures().join("tiny-model-q4_0.gguf")),
        DType::F32,
    );
    assert_last_logits(&model, "q4_0", 5e-5);
}

#[test]
fn bf16_weights_stay_near() {
    let model = open(&ModelFiles::Dir(fixtures().join("tiny-model")), DType::BF16);
    assert_eq!(model.dtype(), DType::BF16);
    assert_last_logits(&model, "f32", 0.5);
}
