//! What `guard` has measured, beside the gain.

use std::fs;

use serde_json::{Value, json};

use crate::{Case, compare, json_of};

/// What `guard --out-file` writes, with one figure that is no number.
const GUARD: &str = r#"{"model": "m", "adapter": "a", "format": "f32", "tokens": 300, "perplexity_before": 20.0,
    "perplexity_after": 19.0, "kl": 0.0125, "same_choice": 0.951, "texts": [
    {"name": "a story", "tokens": 100, "perplexity_before": 10.0, "perplexity_after": 9.0, "kl": 0.01, "same_choice": 1.0},
    {"name": "code", "tokens": 200, "perplexity_before": 30.0, "perplexity_after": null, "kl": null, "same_choice": 0.9}]}"#;

#[test]
fn what_was_moved_elsewhere_stands_beside_the_gain() {
    let case = Case::new();
    let (a, b) = (case.answers("a", 15, 3), case.answers("b", 15, 8));
    let at = |name: &str| case.0.path().join(name);
    fs::write(at("guard.json"), GUARD).expect("written");
    let mut command = compare();
    command.args([&a, &b]).arg("--guard").arg(at("guard.json"));
    command.arg("--html").arg(at("page.html"));
    command.arg("--markdown").arg(at("page.md"));
    let found = json_of(&mut command);
    let elsewhere = &found["elsewhere"];
    assert_eq!(elsewhere["perplexity_before"], json!(20.0));
    assert_eq!(elsewhere["texts"][0]["kl"], json!(0.01));
    assert_eq!(elsewhere["texts"][1]["perplexity_after"], Value::Null);
    let notes = found["notes"].to_string();
    let said = "perplexity fell from 20.00 to 19.00 (\u{2212}5.00 %), better on 1 of 2 texts";
    assert!(notes.contains(said), "{notes}");
    let page = fs::read_to_string(at("page.html")).expect("written");
    assert!(page.contains("<h2>Elsewhere</h2>") && page.contains("no number"));
    let markdown = fs::read_to_string(at("page.md")).expect("written");
    assert!(
        markdown.contains("| a story | 100 | 10.00 | 9.00 |"),
        "{markdown}"
    );
    // Without the file nothing is said of it.
    let without = json_of(compare().args([&a, &b]));
    assert!(without.get("elsewhere").is_none());
}

#[test]
fn a_file_that_guard_did_not_write_is_bad_data() {
    let case = Case::new();
    let (a, b) = (case.answers("a", 15, 3), case.answers("b", 15, 8));
    let path = case.0.path().join("guard.json");
    for text in ["", "{}", "[1]", r#"{"model": 3}"#] {
        fs::write(&path, text).expect("written");
        let mut command = compare();
        let failed = command.args([&a, &b]).arg("--guard").arg(&path).assert();
        let failed = failed.code(3);
        let message = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
        assert!(message.contains("guard.json"), "{message}");
    }
    fs::write(&path, GUARD).expect("written");
    let three = [&a, &b, &b];
    compare()
        .args(three)
        .arg("--guard")
        .arg(&path)
        .assert()
        .code(2);
}
