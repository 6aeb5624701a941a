//! The stage on the tiny model: nothing has moved where nothing was learnt, something has where something was, figures
//! depend on no batch, and limits are limits.

#![allow(clippy::unwrap_used)] // a test: a panic is its failure

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use clap::Parser;
use guard::{Args, Summary, measure};
use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures")).join(name)
}

/// The adapter that PEFT's ten steps on the tiny model left, or the one that they began with (B is zero).
fn adapter(name: &str) -> String {
    fixture("goldens/lora_trace")
        .join(name)
        .display()
        .to_string()
}

fn with(words: &[&str]) -> Summary {
    let base = fixture("tiny-model").display().to_string();
    let all = ["guard", "--base-model", &base, "--max-tokens", "40"];
    let args = Args::try_parse_from(all.iter().chain(words).copied()).unwrap();
    measure(&args).unwrap()
}

#[test]
fn what_has_learnt_nothing_has_not_moved() {
    let found = with(&["--model-name", &adapter("init_adapter"), "--dtype", "f32"]);
    assert_eq!((found.drift.kl, found.drift.increase()), (0.0, 0.0));
    assert_eq!((found.drift.same_choice, found.texts.len()), (1.0, 12));
    assert_eq!(found.drift.tokens, 12 * 39);
    assert!(found.drift.perplexity_before > 1.0);
}

#[test]
fn what_has_learnt_has_moved_and_figures_depend_on_no_batch() {
    let tuned = adapter("final_adapter");
    let words = ["--model-name", &tuned, "--dtype", "f32", "--batch-size"];
    let together = with(&[&words[..], &["12"]].concat());
    let alone = with(&[&words[..], &["1"]].concat());
    assert!(together.drift.kl > 0.0 && together.drift.increase() != 0.0);
    assert!(together.texts.iter().all(|text| text.drift.kl > 0.0));
    assert_eq!(together, alone);
}

fn guard(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_guard"));
    command.arg("--base-model").arg(fixture("tiny-model"));
    command.args(words);
    command
}

#[test]
fn a_limit_that_is_passed_is_exit_code_1_and_the_figures_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let texts = dir.path().join("texts.txt");
    std::fs::write(&texts, "A river bends.\n---\nSeven under paper light.\n").unwrap();
    let (texts, tuned) = (texts.display().to_string(), adapter("final_adapter"));
    let out = dir.path().join("guard.json").display().to_string();
    let words = [
        "--model-name",
        &tuned,
        "--text",
        &texts,
        "--out-file",
        &out,
        "--json",
    ];
    guard(&[&words[..], &["--max-kl", "1000"]].concat())
        .assert()
        .success();
    let failed = guard(&[&words[..], &["--max-kl", "0"]].concat())
        .assert()
        .code(1);
    let output = failed.get_output();
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let written: Value = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
    assert_eq!(printed, written);
    assert!(printed["kl"].as_f64().unwrap() > 0.0);
    assert_eq!(printed["texts"][1]["name"], "text 2");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("--max-kl"), "{message}");
}

#[test]
fn nonsense_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty.txt");
    std::fs::write(&empty, "---\n \n---\n").unwrap();
    let (empty, tuned) = (empty.display().to_string(), adapter("final_adapter"));
    let base = fixture("tiny-model").display().to_string();
    let cases: [(&[&str], i32, &str); 5] = [
        (&["--model-name", &base], 2, "without an adapter"),
        (&["--model-name", &tuned, "--text", &empty], 3, "empty.txt"),
        (&["--model-name", &tuned, "--text", "no-such"], 3, "no-such"),
        (
            &["--model-name", &tuned, "--max-tokens", "1"],
            2,
            "--max-tokens",
        ),
        (&["--model-name", &tuned, "--max-kl", "-1"], 2, "--max-kl"),
    ];
    for (words, code, named) in cases {
        let failed = guard(words).assert().code(code);
        let message = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
        assert!(message.contains(named), "{words:?}: {message}");
    }
}
