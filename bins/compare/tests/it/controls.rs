//! What else a change may come from, and how sure of it one can be.

use super::*;

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
