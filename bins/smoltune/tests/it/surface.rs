//! What every command line has: help, versions, one JSON object.

use std::process::{Command, Stdio};

use crate::Bench;

const STAGES: [&str; 14] = [
    "prepare",
    "generate",
    "train",
    "plan",
    "evaluate",
    "compare",
    "chat",
    "export",
    "adapter",
    "guard",
    "run",
    "init",
    "sweep",
    "quickstart",
];

#[test]
fn every_stage_has_help_and_a_version() {
    let bench = Bench::new();
    assert!(bench.succeeds("--version").starts_with("smoltune "));
    let help = bench.succeeds("--help");
    for stage in STAGES {
        assert!(help.contains(stage), "{stage}\n{help}");
        assert!(bench.succeeds(&format!("{stage} --help")).contains("Usage"));
    }
    assert!(help.contains("Examples:") && help.contains("Exit codes:"));
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let bench = Bench::new();
    for line in [
        "fly",
        "train --lora_r many",
        "evaluate",
        "generate --temperature",
    ] {
        bench.run(line).code(2);
    }
}

#[test]
fn with_json_standard_output_is_one_object() {
    let bench = Bench::new();
    bench.json("prepare --source {fixtures}/dolly-mini.csv --test 3 --train 6 --out data");
    bench.json(
        "generate --model_name {fixtures}/tiny-model --test_csv data/test.csv \
         --out_file before.jsonl --max_new_tokens 4",
    );
    bench.json(
        "train --model_name {fixtures}/tiny-model --train_csv data/train.csv \
         --output_dir adapter --max-steps 1 --ga 2",
    );
    bench.json(
        "generate --model_name adapter --base_model {fixtures}/tiny-model \
         --test_csv data/test.jsonl --out_file after.jsonl --max_new_tokens 4",
    );
    let scores = bench.json("evaluate --pred_file after.jsonl");
    assert_eq!(scores["all"]["n"], 3);
    let compared = bench.json("compare before.jsonl after.jsonl");
    assert_eq!(compared["n"], 3);
    assert!(compared["metrics"]["em"]["p_holm"].is_number());
    assert_eq!(
        bench.json("compare after.jsonl after.jsonl")["identical"],
        true
    );
    bench
        .json("export --model_name adapter --base_model {fixtures}/tiny-model --output_dir merged");
    bench.json("export --model_name adapter --base_model {fixtures}/tiny-model --format gguf");
    bench.json("adapter info adapter");
    bench.json("adapter diff adapter adapter");
    let verified = bench.json("adapter verify adapter --base_model {fixtures}/tiny-model");
    assert_eq!(verified["ok"], true);
    bench.json("adapter merge adapter adapter --output_dir both");
    let merged = bench.path("merged");
    assert!(merged.join("model.safetensors").is_file() && merged.join("config.json").is_file());
}

#[test]
fn a_reader_that_goes_away_is_no_panic_and_a_full_one_is_an_error() {
    let bench = Bench::new();
    bench.write("p.jsonl", "{\"gold\": \"a\", \"prediction\": \"a\"}\n");
    let program = assert_cmd::cargo::cargo_bin("smoltune");
    let start = |out: Stdio| {
        Command::new(&program)
            .args(["evaluate", "--pred_file"])
            .arg(bench.path("p.jsonl"))
            .stdout(out)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut gone = start(Stdio::piped());
    drop(gone.stdout.take());
    let gone = gone.wait_with_output().unwrap();
    assert!(
        gone.status.success(),
        "{}",
        String::from_utf8_lossy(&gone.stderr)
    );

    #[cfg(target_os = "linux")]
    {
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let full = start(full.into()).wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&full.stderr);
        assert_eq!(full.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("standard output"), "{stderr}");
    }
}
