//! Exported models load as what they were made from.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use clap::Parser;
use export::{Args, merge};
use loader::ModelSpec;
use smollm_model::{Mode, Ragged};

fn fixture(name: &str) -> String {
    format!("{}/../../fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn args(words: &[&str]) -> Args {
    Args::parse_from(["export"].iter().chain(words))
}

/// Scores of every token of a short text.
fn logits(spec: &ModelSpec) -> Vec<f32> {
    let loaded = loader::load(spec).unwrap();
    let ids = loaded
        .prompter
        .encode_plain("The river bends at the old mill.")
        .unwrap();
    let hidden = loaded
        .model
        .hidden(&Ragged::new(&[ids]).unwrap(), Mode::Eval)
        .unwrap();
    let logits = loaded.model.logits(&hidden).unwrap();
    logits.flatten_all().unwrap().to_vec1().unwrap()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

#[test]
fn a_merged_model_answers_as_the_adapter_does() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("merged").display().to_string();
    let (model, adapter) = (fixture("tiny-model"), fixture("goldens/lora_step"));
    merge(&args(&[
        "--model_name",
        &model,
        "--adapter_dir",
        &adapter,
        "--output_dir",
        &out,
    ]))
    .unwrap();
    let attached = ModelSpec {
        adapter_dir: Some(adapter.into()),
        ..ModelSpec::new(&model)
    };
    let (merged, attached) = (logits(&ModelSpec::new(&out)), logits(&attached));
    assert!(largest_difference(&merged, &attached) < 1e-4);
    assert!(largest_difference(&merged, &logits(&ModelSpec::new(&model))) > 1e-2);
}

#[test]
fn a_gguf_file_becomes_a_folder_with_the_same_tokenizer() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("from-gguf").display().to_string();
    let model = fixture("tiny-model-q8_0.gguf");
    merge(&args(&["--model_name", &model, "--output_dir", &out])).unwrap();
    let (folder, file) = (ModelSpec::new(&out), ModelSpec::new(&model));
    assert_eq!(logits(&folder), logits(&file));
    let (a, b) = (loader::open(&folder).unwrap(), loader::open(&file).unwrap());
    assert_eq!(
        a.prompter().template_source(),
        b.prompter().template_source()
    );
    assert_eq!(a.config(), b.config());
}

#[test]
fn folders_are_not_written_over_by_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let (out, model) = (dir.path().join("out"), fixture("tiny-model"));
    let text = out.display().to_string();
    let words = [
        "--model_name",
        &model,
        "--output_dir",
        &text,
        "--dtype",
        "bf16",
    ];
    merge(&args(&words)).unwrap();
    let message = merge(&args(&words)).unwrap_err().to_string();
    assert!(message.contains("--overwrite"), "{message}");
    let over = [&words[..], &["--overwrite"]].concat();
    merge(&args(&over)).unwrap();
    let onto = ["--model_name", &text, "--output_dir", &text, "--overwrite"];
    let message = merge(&args(&onto)).unwrap_err().to_string();
    assert!(
        message.contains("holds the model that is read"),
        "{message}"
    );
    let foreign = dir.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("config.json"), "{}").unwrap();
    let foreign = foreign.display().to_string();
    let words = [
        "--model_name",
        &model,
        "--output_dir",
        &foreign,
        "--overwrite",
    ];
    assert!(
        merge(&args(&words))
            .unwrap_err()
            .to_string()
            .contains("not empty")
    );
}
