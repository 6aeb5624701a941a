//! The stage as a whole, on the tiny model.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod adapters;
mod kill;
mod openai;
mod options;

use std::path::Path;

use clap::Parser;
use generate::{Args, Prediction, Summary};
use stage::{Exit, StageError};

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

/// The stage where it writes one file.
fn answer(args: &Args) -> Result<Summary, StageError> {
    let mut summaries = generate::answer(args)?;
    assert_eq!(summaries.len(), 1);
    Ok(summaries.remove(0))
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
        (["--dtype", "bf16"], "dtype \"stored\" (now \"bf16\")"),
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
            |args| args.model.model_name = Some("./none".into()),
            Exit::BadData,
            "./none",
        ),
        (
            |args| args.adapter_dir = vec![".".into()],
            Exit::BadData,
            "adapter_config.json",
        ),
        (
            |args| args.model.base_model = Some("owner/name".into()),
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

const DRAWN: [&str; 10] = [
    "--temperature",
    "1",
    "--top_k",
    "40",
    "--min_p",
    "0.02",
    "--repetition_penalty",
    "1.1",
    "--seed",
    "7",
];

#[test]
fn parts_are_the_whole_and_draws_go_by_row() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let run = |name: &str, more: &[&str]| {
        let more: Vec<&str> = DRAWN.iter().chain(more).copied().collect();
        answer(&args(&path(name), &more)).unwrap();
        answers(&path(name))
    };
    let whole = run("whole", &["--limit", "12"]);
    let mut parts: Vec<Prediction> = ["1/3", "2/3", "3/3"]
        .iter()
        .flat_map(|shard| {
            run(
                &shard.replace('/', "-"),
                &["--limit", "4", "--shard", shard],
            )
        })
        .collect();
    parts.sort_by_key(|row| row.id.parse::<u32>().unwrap());
    assert_eq!(parts, whole);
    // A resumed run draws what an uninterrupted one does, and no part goes on with another's file.
    assert_eq!(run("resumed", &["--limit", "5"]), whole[..5]);
    assert_eq!(
        run("resumed", &["--limit", "12", "--batch_size", "3"]),
        whole
    );
    let other: Vec<&str> = DRAWN.iter().copied().chain(["--shard", "2/3"]).collect();
    assert_eq!(
        answer(&args(&path("1-3"), &other)).unwrap_err().exit(),
        Exit::Usage
    );
    let greedy = path("greedy");
    answer(&args(&greedy, &["--limit", "12"])).unwrap();
    assert_ne!(answers(&greedy), whole);
}

#[test]
fn rows_are_checked_alone() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.jsonl");
    let check = ["--limit", "6", "--check_batch", "3"];
    answer(&args(&out, &check)).unwrap();
    let text = std::fs::read_to_string(&out).unwrap();
    assert!(
        text.lines().all(|line| line.contains("\"mean_logprob\":-")),
        "{text}"
    );
    // The same check finds an answer that was tampered with.
    let (first, rest) = text.split_once('\n').unwrap();
    let mut row: serde_json::Value = serde_json::from_str(first).unwrap();
    row["prediction"] = "something else".into();
    std::fs::write(&out, format!("{row}\n{rest}")).unwrap();
    let error = answer(&args(&out, &check)).unwrap_err();
    assert_eq!(error.exit(), Exit::Failed);
    assert!(error.to_string().contains("otherwise alone"), "{error}");
}

#[test]
fn wrong_parts_and_cuts_are_refused() {
    let parse = |flag: &str, value: &str| {
        Args::try_parse_from(["generate", &format!("{flag}={value}")]).is_err()
    };
    for shard in ["0/3", "4/3", "1", "a/b", "1/0"] {
        assert!(parse("--shard", shard), "{shard}");
    }
    let out = tempfile::tempdir().unwrap();
    let out = out.path().join("out.jsonl");
    for wrong in [
        ["--top_k", "0"],
        ["--min_p", "1.5"],
        ["--repetition_penalty", "0"],
    ] {
        let error = answer(&args(&out, &wrong)).unwrap_err();
        assert_eq!(error.exit(), Exit::Usage, "{error}");
    }
}
