//! A command line with everything set for a quick run.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;

pub(crate) fn fixture(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures")).join(path)
}

/// `train` on the tiny model, with few steps, into `out`.
pub(crate) fn train(out: &Path, steps: &str) -> Command {
    Command::from_std(child(out, steps))
}

/// The same, to be started and ended at will.
pub(crate) fn child(out: &Path, steps: &str) -> std::process::Command {
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("train"));
    command
        .current_dir(out.parent().unwrap())
        .arg("--model_name")
        .arg(fixture("tiny-model"))
        .arg("--train_csv")
        .arg(fixture("dolly-mini.csv"))
        .arg("--output_dir")
        .arg(out)
        .args(["--ga", "2", "--max-steps", steps]);
    command
}

pub(crate) fn folder() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("adapter");
    (dir, out)
}

pub(crate) fn log(out: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(out.join("train_log.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

pub(crate) fn manifest(out: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(out.join("manifest.json")).unwrap()).unwrap()
}

pub(crate) fn weights(out: &Path) -> Vec<u8> {
    std::fs::read(out.join("adapter_model.safetensors")).unwrap()
}
