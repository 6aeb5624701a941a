//! The stage as scripts and people run it.

use std::fs;
use std::path::PathBuf;

use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt;
use serde_json::{Value, json};
use tempfile::TempDir;

mod elsewhere;

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
fn rows_that_training_had_seen_are_set_apart() {
    let case = Case::new();
    let rows = |name: &str, says: &str| {
        let rows: Vec<Value> = (0..10)
            .map(|i| {
                let leak = if i < 4 { "near" } else { "" };
                // The second system is right where training had seen the row, and only there.
                let prediction = if i < 4 { says } else { "no idea" };
                json!({"instruction": format!("q{i}"), "gold": "a red house", "prediction": prediction, "leak": leak})
            })
            .collect();
        case.file(name, &rows)
    };
    let (a, b) = (rows("a", "no idea"), rows("b", "a red house"));
    let found = json_of(compare().args([&a, &b]));
    assert_eq!((&found["n"], &found["clean"]["n"]), (&json!(10), &json!(6)));
    assert_eq!(found["metrics"]["em"]["delta"], json!(0.4));
    assert_eq!(found["clean"]["metrics"]["em"]["delta"], json!(0.0));
    let text = compare().args([&a, &b]).output().expect("runs").stdout;
    let text = String::from_utf8_lossy(&text);
    assert!(
        text.contains("Training had seen 4 of the 10 rows"),
        "{text}"
    );
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
fn more_files_are_each_compared_with_the_first() {
    let case = Case::new();
    let (a, b, c) = (
        case.answers("a", 9, 1),
        case.answers("b", 9, 3),
        case.answers("c", 9, 9),
    );
    let found = json_of(compare().args([&a, &b, &c]));
    let deltas: Vec<f64> = found["comparisons"]
        .as_array()
        .expect("list")
        .iter()
        .map(|one| one["metrics"]["em"]["delta"].as_f64().expect("number"))
        .collect();
    assert!((deltas[0] - 2.0 / 9.0).abs() < 1e-12 && (deltas[1] - 8.0 / 9.0).abs() < 1e-12);
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
fn sameness_is_shown_for_a_margin() {
    let case = Case::new();
    let (a, b) = (
        case.answers("a.jsonl", 900, 450),
        case.answers("b.jsonl", 900, 451),
    );
    let figures = json_of(compare().args([&a, &b]));
    assert_eq!(figures["verdict"], "no_difference");
    assert_eq!(
        figures["says"],
        "no difference larger than 0.05 in any metric"
    );
    let figures = json_of(compare().args([&a, &b]).args(["--margin", "0.001"]));
    assert_eq!(figures["verdict"], "cannot_tell");
}

#[test]
fn rows_about_one_context_count_together() {
    let case = Case::new();
    let rows = |prediction: &str| -> Vec<Value> {
        let row = |i: usize| json!({"instruction": format!("q{i}"), "context": format!("text {}", i / 5), "gold": "yes", "prediction": prediction});
        (0..20).map(row).collect()
    };
    let before = case.file("before.jsonl", &rows("no"));
    let after = case.file("after.jsonl", &rows("yes"));
    let figures = json_of(compare().args([&before, &after]));
    assert_eq!(figures["clusters"], 4);
    assert_eq!(figures["metrics"]["em"]["p"], 0.125);
    let alone = json_of(
        compare()
            .args([&before, &after])
            .args(["--cluster-by", "none"]),
    );
    assert!(alone.get("clusters").is_none());
    assert!(alone["metrics"]["em"]["p"].as_f64().expect("a number") < 1e-5);
}

#[test]
fn intervals_are_drawn_on_request_only() {
    let case = Case::new();
    let (a, b) = (
        case.answers("a.jsonl", 15, 3),
        case.answers("b.jsonl", 15, 8),
    );
    compare()
        .args([&a, &b])
        .args(["--plots", "always"])
        .assert()
        .success()
        .stdout(predicates::str::contains("●"));
    compare()
        .args([&a, &b])
        .assert()
        .success()
        .stdout(predicates::str::contains("●").not());
}

#[test]
fn a_second_run_gives_the_noise_floor() {
    let case = Case::new();
    let (a, b) = (
        case.answers("a.jsonl", 40, 20),
        case.answers("b.jsonl", 40, 21),
    );
    let again = case.answers("again.jsonl", 40, 24);
    let run = || {
        let mut command = compare();
        command.args([&a, &b]).arg("--repeat").arg(&again);
        command
    };
    let figures = json_of(&mut run());
    let em = &figures["noise_floor"]["em"];
    assert_eq!(em["changed"], 0.1);
    assert_eq!(em["delta"], 0.1);
    // Four rows of forty changed by 1: 1.96 standard deviations of sqrt(4) / 40.
    assert!((em["bound"].as_f64().expect("a number") - 1.959_964 * 0.05).abs() < 1e-6);
    run().assert().success().stdout(predicates::str::contains(
        "Within what a second run of the first system changes by itself: Exact match",
    ));
    let other = case.answers("other.jsonl", 39, 20);
    compare()
        .args([&a, &b])
        .arg("--repeat")
        .arg(&other)
        .assert()
        .code(3);
}

#[test]
fn a_gain_from_length_alone_is_told() {
    let case = Case::new();
    let rows = |extra: fn(usize) -> usize| -> Vec<Value> {
        (0..30)
            .map(|i| json!({"instruction": format!("q{i}"), "gold": "one two three four", "prediction": format!("one two{}", " pad".repeat(extra(i)))}))
            .collect()
    };
    let long = case.file("long.jsonl", &rows(|i| 5 + i % 4));
    let cut = case.file("cut.jsonl", &rows(|i| i % 3));
    let figures = json_of(compare().args([&long, &cut]));
    let control = &figures["length_control"]["f1"];
    assert!(
        control["pearson"].as_f64().expect("a number") < -0.5,
        "{control}"
    );
    assert!(control["matched_delta"].as_f64() < figures["metrics"]["f1"]["delta"].as_f64());
    let text = |of: &Value| of["notes"].to_string();
    assert!(text(&figures).contains("where answers are as long as before"));
    // Where a third of the answers kept their length, and with it their words, nothing else is left to explain.
    let padded = |name: &str, extra: fn(usize) -> usize| {
        let row = |i: usize| {
            let words = if i.is_multiple_of(2) {
                "one two"
            } else {
                "one two three"
            };
            let prediction = format!("{words}{}", " pad".repeat(extra(i)));
            json!({"instruction": format!("q{i}"), "gold": "one two three four", "prediction": prediction})
        };
        case.file(name, &(0..60).map(row).collect::<Vec<_>>())
    };
    let before = padded("before", |i| [4, 6, 5][i % 3]);
    let after = padded("after", |i| [4, 3, i % 2][i % 3]);
    let figures = json_of(compare().args([&before, &after]));
    assert_eq!(figures["metrics"]["f1"]["verdict"], json!("better"));
    assert!(text(&figures).contains("one of length alone"), "{figures}");
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
fn candidates_are_adjusted_together() {
    let case = Case::new();
    let (a, b, c) = (
        case.answers("a", 15, 3),
        case.answers("b", 15, 9),
        case.answers("c", 15, 4),
    );
    let both = json_of(compare().args([&a, &b, &c]));
    let alone = json_of(compare().args([&a, &b]));
    let em = &both["comparisons"][0]["metrics"]["em"];
    assert_eq!(em["p"], alone["metrics"]["em"]["p"]);
    let adjusted = |of: &Value| of["p_holm"].as_f64().expect("number");
    assert!(adjusted(em) > adjusted(&alone["metrics"]["em"]));
    assert_eq!(both["comparisons"][1]["candidates"], json!(2));
    assert!(alone.get("candidates").is_none());
    let text = compare().args([&a, &b, &c]).output().expect("runs").stdout;
    assert!(String::from_utf8_lossy(&text).contains("One of 2 candidates"));
}

#[test]
fn candidates_are_compared_on_the_rows_that_all_have() {
    let case = Case::new();
    let (a, b) = (case.answers("a", 15, 3), case.answers("b", 12, 9));
    let c = case.answers("c", 14, 4);
    compare().args([&a, &b, &c]).assert().code(3);
    let found = json_of(compare().args([&a, &b, &c]).arg("--intersect"));
    for comparison in found["comparisons"].as_array().expect("list") {
        assert_eq!(comparison["n"], json!(12));
    }
}

#[test]
fn seeds_are_averaged() {
    let case = Case::new();
    let files = [
        case.answers("a", 15, 3),
        case.answers("s0", 15, 6),
        case.answers("s1", 15, 9),
    ];
    let found = json_of(compare().args(&files).arg("--seeds"));
    let em = &found["metrics"]["em"];
    assert!((em["after"].as_f64().expect("number") - 0.5).abs() < 1e-12);
    assert_eq!(
        (&em["wins"], &em["losses"]),
        (&json!(6), &json!(0)),
        "a row that any seed gains is a gain"
    );
    let means = found["seeds"]["em"]["means"].as_array().expect("list");
    assert_eq!(means.len(), 2);
    assert!((found["seeds"]["em"]["mean"].as_f64().expect("number") - 0.3).abs() < 1e-12);
    let text = compare()
        .args(&files)
        .arg("--seeds")
        .output()
        .expect("runs")
        .stdout;
    let text = String::from_utf8_lossy(&text);
    assert!(
        text.contains("average of 2 runs") && text.contains("Change by seed"),
        "{text}"
    );
    compare()
        .args(&files)
        .args(["--seeds", "--html", "report.html"])
        .assert()
        .code(2);
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
