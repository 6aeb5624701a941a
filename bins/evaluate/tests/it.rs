//! The stage as a user sees it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use assert_cmd::Command;
use assert_cmd::assert::Assert;

/// Runs `evaluate` on a file with this content and these further arguments.
fn evaluate(content: &[u8], args: &[&str]) -> Assert {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("p.jsonl"), content).unwrap();
    Command::new(assert_cmd::cargo_bin!("evaluate"))
        .current_dir(dir.path())
        .args(["--pred_file", "p.jsonl"])
        .args(args)
        .assert()
}

fn stdout(assert: Assert) -> String {
    String::from_utf8(assert.success().get_output().stdout.clone()).unwrap()
}

/// The error for `content`, which must be one line with exit code 3.
fn error(content: &[u8]) -> String {
    let output = evaluate(content, &["--json"]).code(3).get_output().clone();
    assert!(output.stdout.is_empty());
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

const ROWS: &str = "\u{feff}{\"instruction\":\"q\",\"context\":null,\"gold\":\"Paris\",\"prediction\":\"It is Paris.\"}\r\n\n\
    {\"gold\":\"Paris\",\"prediction\":\"\",\"id\":7,\"extra\":[1]}\n\
    {\"gold\":\"Paris\",\"prediction\":\"\",\"id\":\"7\"}";

#[test]
fn json_is_one_object_with_the_schema() {
    for args in [
        &["--json"][..],
        &["--json", "--short_thresh=15", "--rouge-thresh", "0.5"],
    ] {
        let json: serde_json::Value =
            serde_json::from_str(&stdout(evaluate(ROWS.as_bytes(), args))).unwrap();
        assert_eq!(json["all"]["n"], 3);
        assert_eq!(json["all"]["relaxed"], 1.0 / 3.0);
        assert_eq!(json["all"]["rouge_lsum"], 0.5 / 3.0);
        assert_eq!(json["short"], json["all"]);
        let keys: Vec<_> = json["all"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let want = "n em relaxed f1 rouge1 rouge2 rouge_l rouge_lsum acc_at_rouge";
        assert_eq!(keys.join(" "), want);
    }
}

#[test]
fn flagged_rows_are_left_out_of_the_clean_subset() {
    let rows = r#"{"gold":"Paris","prediction":"Paris","leak":"exact"}
{"gold":"Paris","prediction":"Rome"}
{"gold":"Paris","prediction":"Paris","leak":""}"#;
    let json = stdout(evaluate(rows.as_bytes(), &["--json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["all"]["n"], &json["clean"]["n"]),
        (&3.into(), &2.into())
    );
    assert_eq!(json["clean"]["em"], 0.5);
    let lines = stdout(evaluate(rows.as_bytes(), &[]));
    assert!(lines.contains("-- Clean Subset --\nSubset size (not seen in training): 2\nExact Match (accuracy): 0.5000"), "{lines}");
    let none = stdout(evaluate(ROWS.as_bytes(), &["--json"]));
    assert!(!none.contains("clean"));
}

#[test]
fn no_short_rows_are_null() {
    let json = stdout(evaluate(
        ROWS.as_bytes(),
        &["--json", "--short_thresh", "0"],
    ));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["short"]["n"], 0);
    assert!(json["short"]["f1"].is_null());
}

#[test]
fn the_original_counts_an_empty_prediction_as_a_relaxed_match() {
    let text = stdout(evaluate(ROWS.as_bytes(), &["--compat", "original"]));
    assert!(
        text.contains("Relaxed Match (≤15 tokens): 1.0000\n"),
        "{text}"
    );
    let text = stdout(evaluate(ROWS.as_bytes(), &[]));
    assert!(
        text.contains("Relaxed Match (≤15 tokens): 0.3333\n"),
        "{text}"
    );
    assert!(
        text.contains("ROUGE-Lsum (stemmed, avg F): 0.1667\n"),
        "{text}"
    );
}

#[test]
fn files_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (scores, rows) = (path("scores.json"), path("rows.jsonl"));
    let printed = stdout(evaluate(
        ROWS.as_bytes(),
        &["--json", "--out_file", &scores, "--per-row", &rows],
    ));
    assert_eq!(std::fs::read_to_string(scores).unwrap(), printed);
    let rows = std::fs::read_to_string(rows).unwrap();
    let first: serde_json::Value = serde_json::from_str(rows.lines().next().unwrap()).unwrap();
    assert_eq!(
        (
            first["row"].as_u64(),
            first["rouge_lsum"]["recall"].as_f64()
        ),
        (Some(0), Some(1.0))
    );
    assert_eq!(rows.lines().count(), 3);
}

#[test]
fn bad_files_are_explained() {
    for (content, want) in [
        (&b""[..], "p.jsonl: no rows"),
        (b" \n\n", "p.jsonl: no rows"),
        (
            b"{\"gold\":\"\",\"prediction\":\"\"}\n{\"gold\":\"a\",\"answer\":\"\"}",
            "p.jsonl, line 2: no `prediction` (found: gold, answer)",
        ),
        (
            b"{\"gold\":null,\"prediction\":\"\"}",
            "line 1: `gold` is null, expected a string",
        ),
        (
            b"{\"gold\":3,\"prediction\":\"\"}",
            "line 1: `gold` is a number, expected a string",
        ),
        (
            b"{\"gold\":\"a\",\"predic",
            "line 1: the line is cut off at column",
        ),
        (b"{'gold':\"a\"}", "line 1: no valid JSON at column 2"),
        (b"[1]", "line 1: found an array, expected an object"),
        (b"\n{\"gold\":\"\xff\"}", "line 2: invalid UTF-8"),
    ] {
        let text = error(content);
        assert!(text.contains(want), "{text}");
    }
}

#[test]
fn a_missing_file_is_bad_data_and_a_wrong_flag_is_usage() {
    evaluate(ROWS.as_bytes(), &["--pred_file", "none.jsonl"]).code(2);
    evaluate(ROWS.as_bytes(), &["--rouge_thresh", "1.5"]).code(2);
    Command::new(assert_cmd::cargo_bin!("evaluate"))
        .args(["--pred_file", "none.jsonl"])
        .assert()
        .code(3);
}
