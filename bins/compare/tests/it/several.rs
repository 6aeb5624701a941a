//! More than two files: candidates against the first, or seeds of one recipe.

use super::*;

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
