//! The stage as scripts and people run it.

use std::fs;
use std::path::PathBuf;

use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt;
use serde_json::{Value, json};
use tempfile::TempDir;

mod controls;
mod elsewhere;
mod several;

struct Case(TempDir);

impl Case {
    fn new() -> Self {
        Self(TempDir::new().expect("a folder"))
    }

    fn file(&self, name: &str, rows: &[Value]) -> PathBuf {
        let path = self.0.path().join(name);
        let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
        fs::write(&path, lines.join("\n") + "\n").expect("written");
        path
    }

    /// `right` of `rows` answers right, the others wrong.
    fn answers(&self, name: &str, rows: usize, right: usize) -> PathBuf {
        let rows: Vec<Value> = (0..rows)
            .map(|i| {
                let gold = format!("answer number {i} is red");
                let prediction = if i < right { gold.clone() } else { "no idea".into() };
                json!({"instruction": format!("q{i}"), "context": "", "gold": gold, "prediction": prediction})
            })
            .collect();
        self.file(name, &rows)
    }
}

fn compare() -> Command {
    Command::cargo_bin("compare").expect("built")
}

fn json_of(command: &mut Command) -> Value {
    let output = command.arg("--json").output().expect("runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

#[test]
fn five_of_fifteen_flipped_is_no_proof() {
    let case = Case::new();
    let (a, b) = (case.answers("a", 15, 3), case.answers("b", 15, 8));
    let found = json_of(compare().args([&a, &b]));
    let em = &found["metrics"]["em"];
    assert_eq!(
        (&found["identical"], &found["n"]),
        (&json!(false), &json!(15))
    );
    assert_eq!(em["p"], json!(0.0625));
    assert_eq!(
        (&em["wins"], &em["ties"], &em["losses"]),
        (&json!(5), &json!(10), &json!(0))
    );
    assert!(em["test"].as_str().expect("text").contains("McNemar"));
    let names: Vec<&String> = found["metrics"].as_object().expect("map").keys().collect();
    let expected = [
        "em",
        "relaxed",
        "f1",
        "rouge1",
        "rouge2",
        "rouge_l",
        "rouge_lsum",
        "acc_at_rouge",
    ];
    assert_eq!(names, expected);
}

#[test]
fn the_same_file_twice_is_identical() {
    let case = Case::new();
    let a = case.answers("a", 15, 3);
    let found = json_of(compare().args([&a, &a]));
    assert_eq!(found["identical"], json!(true));
    for metric in found["metrics"].as_object().expect("map").values() {
        assert_eq!(
            (&metric["p"], &metric["p_holm"]),
            (&json!(1.0), &json!(1.0))
        );
    }
}

#[test]
fn rows_that_do_not_match_are_refused_with_counts() {
    let case = Case::new();
    let (a, b) = (case.answers("a", 15, 3), case.answers("b", 12, 8));
    let refused = compare().args([&a, &b]).assert().code(3);
    let said = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(
        said.contains("12 in both, 3 only in") && said.contains("--intersect"),
        "{said}"
    );
    let found = json_of(compare().args([&a, &b]).arg("--intersect"));
    assert_eq!(
        (&found["n"], &found["unmatched"]["only_before"]),
        (&json!(12), &json!(3))
    );
}

#[test]
fn the_original_flag_names_show_samples() {
    let case = Case::new();
    let (a, b) = (case.answers("a", 15, 3), case.answers("b", 15, 8));
    let shown = compare()
        .arg("--baseline_jsonl")
        .arg(&a)
        .arg("--lora_jsonl")
        .arg(&b)
        .args(["--k", "2"])
        .assert()
        .code(0);
    let text = String::from_utf8_lossy(&shown.get_output().stdout).into_owned();
    assert!(
        text.contains("2 of 5 rows with different answers"),
        "{text}"
    );
    assert_eq!(text.matches("── row").count(), 2);
    assert!(text.contains("Overall: "), "{text}");
}

#[test]
fn wrong_usage_and_bad_files_have_their_exit_codes() {
    let case = Case::new();
    let a = case.answers("a", 2, 1);
    let empty = case.0.path().join("empty");
    fs::write(&empty, "").expect("written");
    compare().arg(&a).assert().code(2);
    compare().assert().code(2);
    compare()
        .args([&a, &a, &a])
        .args(["--html", "x.html"])
        .assert()
        .code(2);
    compare()
        .args([&a, &a])
        .args(["--alpha", "0"])
        .assert()
        .code(2);
    compare().args([&a, &empty]).assert().code(3);
    compare().arg(&a).arg("missing.jsonl").assert().code(3);
}

#[test]
fn report_and_json_files_are_written_and_finds_the_training_log_of_a_run() {
    let case = Case::new();
    let tuned = case.0.path().join("tuned");
    let adapter = case.0.path().join("adapter");
    fs::create_dir_all(&tuned).expect("folder");
    fs::create_dir_all(&adapter).expect("folder");
    let (a, b) = (
        case.answers("a", 15, 3),
        case.answers("tuned/predictions.jsonl", 15, 8),
    );
    fs::write(
        adapter.join("train_log.jsonl"),
        "{\"step\":1,\"loss\":2.5}\n{\"step\":2,\"loss\":2.25}\n",
    )
    .expect("written");
    let (html, out) = (case.0.path().join("r.html"), case.0.path().join("r.json"));
    compare()
        .args([&a, &b])
        .arg("--report")
        .arg(&html)
        .arg("--out_file")
        .arg(&out)
        .assert()
        .code(0);
    let page = fs::read_to_string(html).expect("page");
    assert!(page.contains("2.5000 → 2.2500") && page.contains("Cannot tell"));
    let written: Value = serde_json::from_slice(&fs::read(out).expect("file")).expect("JSON");
    assert_eq!(written["n"], json!(15));
}

#[test]
fn a_worse_system_fails_a_pipeline_that_asks_for_it() {
    let case = Case::new();
    let (good, bad) = (
        case.answers("good.jsonl", 40, 40),
        case.answers("bad.jsonl", 40, 5),
    );
    compare()
        .args([&good, &bad])
        .arg("--fail-if-worse")
        .assert()
        .code(1)
        .stdout(predicates::str::contains("worse in"))
        .stderr(predicates::str::contains("is worse than"));
    compare()
        .args([&bad, &good])
        .arg("--fail-if-worse")
        .assert()
        .code(0);
    compare().args([&good, &bad]).assert().code(0);
}

#[test]
fn markdown_for_a_pull_request() {
    let case = Case::new();
    let (a, b) = (
        case.answers("a.jsonl", 15, 3),
        case.answers("b.jsonl", 15, 8),
    );
    let path = case.0.path().join("report.md");
    compare()
        .args([&a, &b])
        .arg("--markdown")
        .arg(&path)
        .args(["--title", "a | b <script>"])
        .assert()
        .success();
    let text = fs::read_to_string(&path).expect("written");
    assert!(text.starts_with("# a \\| b \\<script\\>\n"), "{text}");
    assert!(
        text.contains("| Exact match | 0.2000 | 0.5333 | +0.3333 |"),
        "{text}"
    );
    assert!(text.contains("| 0.0625 |"), "{text}");
}

#[test]
fn fields_may_have_other_names() {
    let case = Case::new();
    let rows = |name: &str, says: &str| {
        let rows: Vec<Value> = (0..8)
            .map(|i| json!({"id": i, "target": ["x", "red"], "output": says}))
            .collect();
        case.file(name, &rows)
    };
    let files = [rows("a", "blue"), rows("b", "red")];
    let error = compare().args(&files).assert().code(3);
    let error = String::from_utf8_lossy(&error.get_output().stderr).into_owned();
    assert!(error.contains("--gold-field"), "{error}");
    let named = ["--gold-field", "target", "--prediction-field", "output"];
    let found = json_of(compare().args(&files).args(named));
    assert_eq!(found["metrics"]["em"]["wins"], json!(8));
}
