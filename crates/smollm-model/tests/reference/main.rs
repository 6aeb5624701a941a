//! The real SmolLM2-135M-Instruct (`Q4_1`, dequantised) against transformers on the same weights.
//! Needs `SMOLTUNE_REFERENCE` (the folder with `golden/`) and `SMOLTUNE_GGUF` (the weights).

#![allow(clippy::unwrap_used, missing_docs)] // a test: a panic is its failure

mod packed;

use std::path::PathBuf;
use std::sync::OnceLock;

use candle_core::{DType, Device};
use chat_prompt::{Message, Prompter, user_turn};
use smollm_model::{Checkpoint, KvCache, Llama, Mode, ModelFiles, Ragged};

fn path(variable: &str, what: &str) -> PathBuf {
    match std::env::var_os(variable) {
        Some(path) => path.into(),
        None => panic!("set {variable} to {what}"),
    }
}

fn golden() -> PathBuf {
    path("SMOLTUNE_REFERENCE", "the folder with golden/ and data/").join("golden")
}

fn model() -> &'static Llama {
    static MODEL: OnceLock<Llama> = OnceLock::new();
    MODEL.get_or_init(|| {
        let gguf = path("SMOLTUNE_GGUF", "SmolLM2-135M-Instruct.Q4_1.gguf");
        let checkpoint = Checkpoint::open(&ModelFiles::Gguf(gguf)).unwrap();
        Llama::load(&checkpoint, DType::F32, &Device::Cpu).unwrap()
    })
}

fn json(name: &str) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(golden().join(name)).unwrap()).unwrap()
}

fn ids(value: &serde_json::Value) -> Vec<u32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_u64().unwrap() as u32)
        .collect()
}

fn last_logits(ids: &[u32]) -> Vec<f32> {
    let hidden = model()
        .hidden(&Ragged::new(&[ids]).unwrap(), Mode::Eval)
        .unwrap();
    let last = hidden.narrow(0, ids.len() - 1, 1).unwrap();
    model()
        .logits(&last)
        .unwrap()
        .get(0)
        .unwrap()
        .to_vec1()
        .unwrap()
}

#[test]
fn last_logits_and_top_20_equal_transformers() {
    let full =
        candle_core::safetensors::load(golden().join("logits_full.safetensors"), &Device::Cpu);
    let full = full.unwrap();
    for prompt in json("logits_nll.json")["prompts"].as_array().unwrap() {
        let found = last_logits(&ids(&prompt["ids"]));
        let mut order: Vec<usize> = (0..found.len()).collect();
        order.sort_by(|&i, &j| found[j].total_cmp(&found[i]));
        let top: Vec<u32> = order[..20].iter().map(|&i| i as u32).collect();
        assert_eq!(top, ids(&prompt["top20_ids"]), "{}", prompt["name"]);
        for (id, expected) in top.iter().zip(prompt["top20_logits"].as_array().unwrap()) {
            let difference = f64::from(found[*id as usize]) - expected.as_f64().unwrap();
            assert!(difference.abs() < 2e-3, "{}: {difference}", prompt["name"]);
        }
        let name = prompt["name"].as_str().unwrap();
        if let Some(all) = full.get(&format!("{name}.logits")) {
            let all = all.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let worst = found
                .iter()
                .zip(&all)
                .fold(0f32, |m, (x, y)| m.max((x - y).abs()));
            assert!(worst < 2e-3, "{name}: all logits: {worst}");
        }
    }
}

#[test]
fn nll_of_training_rows_equals_transformers() {
    let gguf = path("SMOLTUNE_GGUF", "SmolLM2-135M-Instruct.Q4_1.gguf");
    let prompter = Prompter::from_gguf(&gguf::GgufFile::open(gguf).unwrap()).unwrap();
    let data = golden().join("../data/dolly-train-1000.csv");
    let data = dolly_data::load_rows(&data).unwrap().rows;
    let cases = json("logits_nll.json");
    let cases = cases["nll_train20"].as_array().unwrap();
    assert_eq!(cases.len(), 20);
    for case in cases {
        let row = &data[case["row"].as_u64().unwrap() as usize];
        let messages = [
            Message::user(user_turn(&row.instruction, row.context.as_deref())),
            Message::assistant(row.response.clone()),
        ];
        let mut ids = prompter.encode_chat(&messages, false).unwrap();
        let n = case["n_tokens"].as_u64().unwrap() as usize;
        ids.truncate(n);
        let hidden = model()
            .hidden(&Ragged::new(&[&ids]).unwrap(), Mode::Eval)
            .unwrap();
        let rows: Vec<u32> = (0..n as u32 - 1).collect();
        let nll: f32 = model()
            .nll(&hidden, (&rows, &ids[1..]), Mode::Eval)
            .unwrap()
            .to_scalar()
            .unwrap();
        let found = f64::from(nll) / (n as f64 - 1.0);
        let expected = case["nll_all_mean"].as_f64().unwrap();
        assert!(
            (found - expected).abs() < 1e-4,
            "row {}: {found} against {expected}",
            case["row"]
        );
    }
}

#[test]
fn a_batch_of_15_has_the_bits_of_each_row_alone() {
    let rows = json("tokenizer.json");
    let prompts: Vec<Vec<u32>> = rows["chat_rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| ids(&row["prompt_ids"]))
        .collect();
    let batch = Ragged::new(&prompts).unwrap();
    let mut caches = vec![KvCache::default(); prompts.len()];
    let mut refs: Vec<&mut KvCache> = caches.iter_mut().collect();
    let hidden = model().hidden_cached(&batch, &mut refs).unwrap();
    for (prompt, range) in prompts.iter().zip(batch.segments().iter()) {
        let row = hidden.narrow(0, range.end - 1, 1).unwrap();
        let together: Vec<f32> = model()
            .logits(&row)
            .unwrap()
            .get(0)
            .unwrap()
            .to_vec1()
            .unwrap();
        let alone = last_logits(prompt);
        assert!(
            together
                .iter()
                .zip(&alone)
                .all(|(x, y)| x.to_bits() == y.to_bits())
        );
    }
}
