//! The before/after table that a run ends with.

use serde_json::{Map, Value};

/// Names people read, in the order in which they are shown.
const METRICS: [(&str, &str); 8] = [
    ("em", "exact match"),
    ("relaxed", "relaxed match"),
    ("f1", "token F1"),
    ("rouge1", "ROUGE-1"),
    ("rouge2", "ROUGE-2"),
    ("rouge_l", "ROUGE-L"),
    ("rouge_lsum", "ROUGE-Lsum"),
    ("acc_at_rouge", "acc@ROUGE"),
];

/// The table of a `compare --json` object.
pub(crate) fn render(comparison: &Value) -> String {
    let n = comparison["n"].as_u64().unwrap_or(0);
    let mut lines = vec![
        format!("{n} held-out questions, answered before and after fine-tuning"),
        String::new(),
        format!(
            "{:<14} {:>7} {:>7} {:>8}  {:>18}  {:>8}  {:>13}  verdict",
            "", "before", "after", "change", "95 % interval", "p (Holm)", "won/tied/lost"
        ),
    ];
    for (key, name) in METRICS {
        if let Some(metric) = comparison["metrics"].get(key) {
            lines.push(row(name, metric));
        }
    }
    for note in comparison["notes"].as_array().into_iter().flatten() {
        lines.extend([String::new(), note.as_str().unwrap_or_default().to_owned()]);
    }
    lines.join("\n")
}

fn row(name: &str, metric: &Value) -> String {
    let number = |key: &str| metric[key].as_f64().unwrap_or(f64::NAN);
    let ci = |i: usize| metric["ci"][i].as_f64().unwrap_or(f64::NAN);
    let p = number("p_holm");
    let interval = format!("[{:+.4}, {:+.4}]", ci(0), ci(1));
    let count = |key: &str| metric[key].as_u64().unwrap_or(0);
    let rows = format!("{}/{}/{}", count("wins"), count("ties"), count("losses"));
    format!(
        "{name:<14} {:>7.4} {:>7.4} {:>+8.4}  {interval:>18}  {:>8}  {rows:>13}  {}",
        number("before"),
        number("after"),
        number("delta"),
        if p < 0.0001 {
            "<0.0001".into()
        } else {
            format!("{p:.4}")
        },
        verdict(metric),
    )
}

/// The verdict of `compare`, in its shortest words.
fn verdict(metric: &Value) -> String {
    match metric["verdict"].as_str() {
        Some("same") => "same on every row".into(),
        Some("no_difference") => "no difference that matters".into(),
        Some(word) => word.replace('_', " "),
        None => "unknown".into(),
    }
}

/// `time: 231 s (prepare 0, baseline 40, …)`.
pub(super) fn timing(steps: &Map<String, Value>, seconds: f64) -> String {
    let each: Vec<String> = steps
        .iter()
        .map(|(name, s)| format!("{name} {:.0}", s.as_f64().unwrap_or(0.0)))
        .collect();
    format!("time: {seconds:.0} s ({})", each.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_says_what_can_be_said() {
        let metric = |delta: f64, p: f64, verdict: &str| {
            json!({"before": 0.2, "after": 0.2 + delta, "delta": delta,
                   "ci": [delta - 0.05, delta + 0.05], "p": p, "p_holm": p,
                   "wins": 5, "ties": 1, "losses": 2, "verdict": verdict})
        };
        let table = render(&json!({"n": 40, "notes": ["Mind the length."], "metrics": {
            "rouge1": {"before": 0.0, "after": 0.0, "delta": 0.0, "p_holm": 1.0, "verdict": "same"},
            "rouge2": metric(0.001, 0.9, "no_difference"), "f1": metric(0.1, 0.001, "better"),
            "em": metric(0.01, 0.5, "cannot_tell"), "rouge_l": metric(-0.1, 0.01, "worse")}}));
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[0].starts_with("40 held-out"));
        assert!(lines[3].starts_with("exact match") && lines[3].ends_with("cannot tell"));
        assert!(lines[4].starts_with("token F1") && lines[4].ends_with("better"));
        assert!(lines[5].ends_with("same on every row"));
        assert!(lines[6].ends_with("no difference that matters"));
        assert!(lines[7].starts_with("ROUGE-L ") && lines[7].ends_with("worse"));
        assert_eq!(lines[9], "Mind the length.");
    }
}
