//! The stage as a whole, on the tiny model.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::path::Path;

use clap::Parser;
use generate::{Args, Prediction, answer};
use stage::Exit;

fn fixture(name: &str) -> String {
    format!("{}/../../fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn args(out: &Path, more: &[&str]) -> Args {
    let (model, rows) = (fixture("tiny-model"), fixture("dolly-mini.jsonl"));
    let out = out.display().to_string();
    let fixed = [
        "generate",
        "--model_name",
        &model,
        "--test_csv",
        &rows,
        "--out_file",
        &out,
    ];
    Args::parse_from(
        fixed
            .iter()
            .chain(["--max_new_tokens", "16"].iter())
            .chain(more),
    )
}

fn answers(path: &Path) -> Vec<Prediction> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn every_row_is_answered_in_order_whatever_the_batch() {
    let dir = tempfile::tempdir().unwrap();
    let (together, alone) = (dir.path().join("16.jsonl"), dir.path().join("1.jsonl"));
    let summary = answer(&args(&together, &["--limit", "20"])).unwrap();
    assert_eq!((summary.rows, summary.resumed), (20, 0));
    answer(&args(&alone, &["--limit", "20", "--batch_size", "1"])).unwrap();
    assert_eq!(answers(&together), answers(&alone));
    let ids: Vec<String> = answers(&together).into_iter().map(|row| row.id).collect();
    assert_eq!(ids, (0..20).map(|id| id.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_run_goes_on_where_it_was_and_starts_again_without_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("sub/out.jsonl");
    answer(&args(&out, &["--limit", "6"])).unwrap();
    let summary = answer(&args(&out, &["--limit", "9"])).unwrap();
    assert_eq!((summary.rows, summary.resumed), (9, 6));
    let whole = std::fs::read(&out).unwrap();
    // Torn in the last line, as by a crash.
    std::fs::write(&out, &whole[..whole.len() - 10]).unwrap();
    let summary = answer(&args(&out, &["--limit", "9"])).unwrap();
    assert_eq!((summary.rows, summary.resumed), (9, 8));
    assert_eq!(std::fs::read(&out).unwrap(), whole);
    let summary = answer(&args(&out, &["--limit", "9"])).unwrap();
    assert_eq!((summary.resumed, summary.new_tokens), (9, 0));
    std::fs::remove_file(&out).unwrap();
    let summary = answer(&args(&out, &["--limit", "9"])).unwrap();
    assert_eq!((summary.rows, summary.resumed), (9, 0));
    assert_eq!(std::fs::read(&out).unwrap(), whole);
}

#[test]
fn other_work_is_not_mixed_in() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.jsonl");
    answer(&args(&out, &["--limit", "2"])).unwrap();
    for (more, hint) in [
        (["--max_prompt_len", "99"], "max_prompt_len 1024 (now 99)"),
        (["--dtype", "bf16"], "dtype \"f32\" (now \"bf16\")"),
        (
            ["--compat", "original"],
            "compat \"none\" (now \"original\")",
        ),
    ] {
        let error = answer(&args(&out, &more)).unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);
        let message = error.to_string();
        assert!(
            message.contains(hint) && message.contains("--overwrite"),
            "{message}"
        );
    }
    let over = ["--limit", "2", "--dtype", "bf16", "--overwrite"];
    assert_eq!(answer(&args(&out, &over)).unwrap().resumed, 0);
    std::fs::remove_file(dir.path().join("out.jsonl.manifest.json")).unwrap();
    let message = answer(&args(&out, &over[..4])).unwrap_err().to_string();
    assert!(
        message.contains("nothing says what it was made from"),
        "{message}"
    );
}

/// One thing that is wrong with a command.
type Change = fn(&mut Args);

#[test]
fn bad_input_is_told_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let cases: [(Change, Exit, &str); 7] = [
        (
            |args| args.max_prompt_len = 5,
            Exit::BadData,
            "row with id 0",
        ),
        (
            |args| args.test_csv = "none.csv".into(),
            Exit::BadData,
            "none.csv",
        ),
        (
            |args| args.model_name = Some("./none".into()),
            Exit::BadData,
            "./none",
        ),
        (
            |args| args.adapter_dir = Some(".".into()),
            Exit::BadData,
            "adapter_config.json",
        ),
        (
            |args| args.base_model = Some("owner/name".into()),
            Exit::Usage,
            "two models",
        ),
        (|args| args.batch_size = 0, Exit::Usage, "at least 1"),
        (|args| args.top_p = Some(0.0), Exit::Usage, "above 0"),
    ];
    for (change, exit, hint) in cases {
        let mut args = args(&dir.path().join("out.jsonl"), &[]);
        change(&mut args);
        let error = answer(&args).unwrap_err();
        assert_eq!(error.exit(), exit, "{error}");
        assert!(error.to_string().contains(hint), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "{error}");
    }
}

#[test]
fn the_original_cuts_the_end_of_a_prompt_and_ours_the_context() {
    let dir = tempfile::tempdir().unwrap();
    let cut = |name: &str, more: &[&str]| {
        let out = dir.path().join(name);
        let most = ["--max_prompt_len", "120", "--limit", "30"];
        let more: Vec<&str> = most.iter().chain(more).copied().collect();
        answer(&args(&out, &more)).unwrap();
        answers(&out)
            .into_iter()
            .filter(|row| row.truncated)
            .collect::<Vec<_>>()
    };
    let ours = cut("ours.jsonl", &[]);
    let original = cut("original.jsonl", &["--compat", "original"]);
    assert!(!ours.is_empty() && ours.len() == original.len());
    assert!(original.iter().all(|row| row.prompt_tokens == 120));
    assert!(ours.iter().all(|row| row.prompt_tokens <= 120));
}
