//! Exported models and adapters load as what they were made from.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod adapters;
mod card;
mod folder;
mod gguf_file;
mod push;

use clap::Parser;
use export::{Args, Summary, export};
use loader::ModelSpec;
use smollm_model::{Mode, Ragged};
use stage::StageError;

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

/// Exports into `out` with these words, the last of them values that may hold spaces.
fn write(out: &std::path::Path, words: &[&str]) -> Result<Summary, StageError> {
    let out = out.display().to_string();
    export(&args(&[words, &["--output_dir", &out]].concat()))
}

/// The tiny model with an adapter of the fixtures attached.
fn with_adapter(adapter: &str) -> ModelSpec {
    ModelSpec {
        adapter_dir: Some(fixture(adapter).into()),
        ..ModelSpec::new(&fixture("tiny-model"))
    }
}
