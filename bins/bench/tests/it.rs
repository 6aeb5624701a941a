//! The stage on the tiny model: every test gives sound figures, and nonsense is refused.

#![allow(clippy::unwrap_used)] // a test: a panic is its failure

use bench::{Args, Inference, TrainSummary, What, measure, measure_training};
use clap::Parser;
use stage::StageError;

fn model() -> String {
    format!("{}/../../fixtures/tiny-model", env!("CARGO_MANIFEST_DIR"))
}

fn what(words: &[&str], more: &[&str]) -> What {
    let model = model();
    let common = ["--model", &model, "--threads", "1"];
    let all = ["bench"].iter().chain(words).chain(more).chain(&common);
    Args::try_parse_from(all.copied()).unwrap().what
}

fn args(words: &[&str]) -> Inference {
    match what(words, &["--repeats", "2"]) {
        What::Inference(args) => args,
        What::Train(_) => panic!("{words:?} trains"),
    }
}

fn training(words: &[&str]) -> Result<TrainSummary, StageError> {
    match what(&["train"], words) {
        What::Train(args) => measure_training(&args),
        What::Inference(_) => panic!("{words:?} does not train"),
    }
}

#[test]
fn every_test_gives_figures() {
    let cases: [&[&str]; 3] = [
        &["prefill", "--tokens", "40", "--no-peaks"],
        &[
            "decode",
            "--prompt",
            "8",
            "--tokens",
            "4",
            "--batch",
            "3",
            "--quantize",
            "q8_0",
            "--no-peaks",
        ],
        &[
            "generate",
            "--rows",
            "3",
            "--prompt",
            "8",
            "--tokens",
            "4",
            "--batch",
            "2",
            "--no-peaks",
        ],
    ];
    for words in cases {
        let summary = measure(&args(words)).unwrap();
        assert_eq!(summary.test, words[0]);
        assert!(summary.tokens_per_s > 0.0 && summary.gflops > 0.0 && summary.gbps > 0.0);
        assert!(
            summary.range[0] <= summary.tokens_per_s && summary.tokens_per_s <= summary.range[1]
        );
        let json = serde_json::to_value(&summary).unwrap();
        for key in [
            "tokens_per_s",
            "peak_rss_mb",
            "gflops",
            "gbps",
            "time_to_first_token_s",
        ] {
            assert!(json[key].is_number(), "{key}");
        }
    }
}

#[test]
fn training_on_made_up_rows_gives_figures() {
    let small = ["--steps", "2", "--ga", "2", "--max-seq-len", "96"];
    for extra in [&["--no-peaks"][..], &["--dtype", "bf16", "--no-peaks"]] {
        let found = training(&[&small, extra].concat()).unwrap();
        assert_eq!((found.steps, found.tokens), (2, 2 * 96), "whole rows");
        assert!(0 < found.supervised_tokens && found.supervised_tokens < found.tokens);
        assert!(found.range[0] <= found.tokens_per_s && found.tokens_per_s <= found.range[1]);
        assert!(found.gflops > 0.0 && found.peak_rss_mb > 0.0);
        assert!(found.device == "cpu" && found.peak_device_mb.is_none());
        let json = serde_json::to_value(&found).unwrap();
        for key in ["tokens_per_s", "peak_rss_mb", "gflops"] {
            assert!(json[key].is_number(), "{key}");
        }
    }
}

#[test]
fn training_takes_rows_from_a_file() {
    let rows = format!(
        "{}/../../fixtures/dolly-mini.csv",
        env!("CARGO_MANIFEST_DIR")
    );
    let words = [
        "--train_csv",
        &rows,
        "--steps",
        "1",
        "--bs",
        "2",
        "--ga",
        "2",
        "--lora_r",
        "4",
    ];
    let found = training(&[&words[..], &["--checkpointing", "block", "--no-peaks"]].concat());
    let found = found.unwrap();
    assert!(found.steps == 1 && found.tokens > 0);
}

#[test]
fn nonsense_in_training_is_refused() {
    let missing = training(&["--train-csv", "no-such.csv"]).unwrap_err();
    assert_eq!(missing.exit().code(), 3);
    assert!(missing.to_string().contains("no-such.csv"), "{missing}");
    let rank = training(&["--lora-r", "0"]).unwrap_err();
    assert_eq!(rank.exit().code(), 2);
}

#[test]
fn nonsense_is_refused() {
    let zero = measure(&args(&["prefill", "--tokens", "0"])).unwrap_err();
    assert_eq!(zero.exit().code(), 2);
    let long = measure(&args(&["prefill", "--tokens", "100000"])).unwrap_err();
    assert_eq!(long.exit().code(), 2);
    assert!(long.to_string().contains("512"), "{long}");
}
