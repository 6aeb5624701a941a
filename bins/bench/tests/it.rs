//! The stage on the tiny model: every test gives sound figures, and nonsense is refused.

#![allow(clippy::unwrap_used)] // a test: a panic is its failure

use bench::{Args, measure};
use clap::Parser;

fn model() -> String {
    format!("{}/../../fixtures/tiny-model", env!("CARGO_MANIFEST_DIR"))
}

fn args(words: &[&str]) -> Args {
    let model = model();
    let common = ["--model", &model, "--repeats", "2", "--threads", "1"];
    let all = ["bench"].iter().chain(words).chain(&common).copied();
    Args::try_parse_from(all).unwrap()
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
fn nonsense_is_refused() {
    let zero = measure(&args(&["prefill", "--tokens", "0"])).unwrap_err();
    assert_eq!(zero.exit().code(), 2);
    let long = measure(&args(&["prefill", "--tokens", "100000"])).unwrap_err();
    assert_eq!(long.exit().code(), 2);
    assert!(long.to_string().contains("512"), "{long}");
}
