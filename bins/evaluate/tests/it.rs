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
        let want =
            "n em relaxed f1 rouge1 rouge2 rouge_l rouge_lsum acc_at_rouge acc_at_rouge_exact";
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

const GROUPS: &[u8] = br#"{"gold":"Paris","prediction":"Paris","category":"open|qa","context":"about","finish_reason":"stop"}
{"gold":"four cats","prediction":"","category":"closed","context":" ","finish_reason":"length"}
{"gold":"red","prediction":"blue","category":"closed"}
"#;

#[test]
fn groups_have_means_intervals_and_lengths() {
    let json: serde_json::Value =
        serde_json::from_str(&stdout(evaluate(GROUPS, &["--json"]))).unwrap();
    let groups = json["groups"].as_array().unwrap();
    let names: Vec<_> = groups
        .iter()
        .map(|g| (g["name"].as_str().unwrap(), g["n"].as_u64().unwrap()))
        .collect();
    assert_eq!(
        names,
        [
            ("all", 3),
            ("short", 3),
            ("context=with", 1),
            ("context=without", 2),
            ("category=closed", 2),
            ("category=open|qa", 1)
        ]
    );
    // Wilson for one of three, by its formula.
    let em = &groups[0]["intervals"]["em"];
    assert!((em[0].as_f64().unwrap() - 0.061_491_9).abs() < 1e-6, "{em}");
    assert!((em[1].as_f64().unwrap() - 0.792_345).abs() < 1e-5, "{em}");
    let lengths = &groups[0]["lengths"];
    assert_eq!(lengths["ratio"], 0.5);
    assert_eq!(lengths["stopped"], 0.5);
    assert_eq!(lengths["cut_off"], 0.5);
    assert!((lengths["empty"].as_f64().unwrap() - 1.0 / 3.0).abs() < 1e-12);
    // One row has a mean, but no interval of it.
    assert!(groups[2]["intervals"].get("f1").is_none());
}

#[test]
fn tables_for_other_programs() {
    let csv = stdout(evaluate(GROUPS, &["--csv", "-"]));
    assert!(
        csv.starts_with("group,n,metric,mean,low,high\nall,3,em,0.333"),
        "{csv}"
    );
    assert_eq!(csv.lines().count(), 1 + 6 * 8);
    let markdown = stdout(evaluate(GROUPS, &["--markdown", "-"]));
    assert!(
        markdown.contains("| category=open\\|qa | 1 | 1.0000 ["),
        "{markdown}"
    );
    let columns: Vec<usize> = markdown
        .lines()
        .map(|l| l.replace("\\|", "").matches('|').count())
        .collect();
    assert_eq!(columns, [14; 8]);
}

#[test]
fn bars_are_drawn_on_request_only() {
    let plain = stdout(evaluate(GROUPS, &[]));
    let drawn = stdout(evaluate(GROUPS, &["--plots", "always"]));
    assert!(drawn.starts_with(&plain) && drawn.contains("████"));
    assert!(!plain.contains('█'));
}

#[test]
fn fields_may_have_other_names_and_several_right_answers() {
    let rows = br#"{"target":["Rome","The Paris"],"output":"the paris","gold":"wrong"}
"#;
    let args = [
        "--gold-field",
        "target",
        "--prediction-field",
        "output",
        "--json",
    ];
    let json: serde_json::Value = serde_json::from_str(&stdout(evaluate(rows, &args))).unwrap();
    assert_eq!(json["all"]["em"], 1.0);
    assert_eq!(json["all"]["rouge_l"], 1.0);
    let output = evaluate(rows, &["--gold-field", "answer"])
        .code(3)
        .get_output()
        .clone();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("line 1: no `answer` (found: "), "{text}");
    let text = error(br#"{"gold":[],"prediction":"a"}"#);
    assert!(text.contains("`gold` is an empty list"), "{text}");
    let text = error(br#"{"gold":["a",1],"prediction":"a"}"#);
    assert!(
        text.contains("expected a string or a list of strings"),
        "{text}"
    );
}

#[test]
fn a_threshold_that_floats_miss_is_shown_both_ways() {
    // F is 2 / 10 = 0.2, but 2PR / (P + R) in floats is 0.19999999999999998.
    let rows = br#"{"gold":"w0","prediction":"w0 x0 x1 x2 x3 x4 x5 x6 x7"}
"#;
    let args = ["--rouge_thresh", "0.2"];
    let json: serde_json::Value =
        serde_json::from_str(&stdout(evaluate(rows, &[&args[..], &["--json"]].concat()))).unwrap();
    assert_eq!(json["all"]["acc_at_rouge"], 0.0);
    assert_eq!(json["all"]["acc_at_rouge_exact"], 1.0);
    let lines = stdout(evaluate(rows, &args));
    assert!(
        lines.contains("Accuracy@ROUGE-Lsum>=0.2: 0.0000\n"),
        "{lines}"
    );
    assert!(
        lines.contains("Accuracy@ROUGE-Lsum>=0.2 (in whole numbers): 1.0000"),
        "{lines}"
    );
    let original = stdout(evaluate(
        rows,
        &[&args[..], &["--compat", "original"]].concat(),
    ));
    assert!(!original.contains("whole numbers"));
}

#[test]
fn further_metrics_have_signatures_and_intervals() {
    let rows = br#"{"gold":"the cat sat on the mat","prediction":"the cat sat on a mat"}
{"gold":"hello","prediction":"hello"}
"#;
    let args = ["--metrics", "bleu,squad_em", "--bootstrap", "200"];
    let json: serde_json::Value =
        serde_json::from_str(&stdout(evaluate(rows, &[&args[..], &["--json"]].concat()))).unwrap();
    let bleu = &json["metrics"]["bleu"];
    // sacrebleu's corpus_bleu of these two rows.
    assert!(
        (bleu["score"].as_f64().unwrap() - 54.11).abs() < 0.005,
        "{bleu}"
    );
    assert!(
        bleu["signature"]
            .as_str()
            .unwrap()
            .starts_with("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|")
    );
    let ends = bleu["interval"].as_array().unwrap();
    assert!(ends[0].as_f64() < ends[1].as_f64(), "{bleu}");
    // SQuAD leaves articles out, so "on the mat" is "on a mat".
    assert_eq!(json["metrics"]["squad_em"]["score"], 1.0);
    let lines = stdout(evaluate(rows, &args));
    assert!(
        lines.contains("-- Further Metrics --\nbleu: 54.1"),
        "{lines}"
    );
    let output = evaluate(rows, &["--metrics", "bleurt"])
        .code(2)
        .get_output()
        .clone();
    assert!(String::from_utf8(output.stderr).unwrap().contains("chrf++"));
}

#[test]
fn predictions_from_standard_input() {
    let output = Command::new(assert_cmd::cargo_bin!("evaluate"))
        .args(["--pred_file", "-", "--json"])
        .write_stdin("{\"gold\":\"a b\",\"prediction\":\"a b\",\"truncated\":true}\n{\"gold\":\"a\",\"prediction\":\"\"}\n")
        .output()
        .expect("runs");
    assert!(output.status.success(), "{output:?}");
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(found["all"]["em"], 0.5);
    assert_eq!(found["groups"][0]["lengths"]["truncated"], 0.5);
    assert!(found["predictions"].is_null());
}
