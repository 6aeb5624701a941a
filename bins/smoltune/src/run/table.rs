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
pub(super) fn render(comparison: &Value) -> String {
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
        if count("wins") + count("losses") == 0 {
            "same on every row"
        } else {
            verdict(number("delta"), p)
        },
    )
}

/// What may be said at the 5 % level after correction for testing several metrics.
fn verdict(delta: f64, p: f64) -> &'static str {
    match (p < 0.05, delta > 0.0) {
        (true, true) => "better",
        (true, false) => "worse",
        _ => "cannot tell",
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
        let metric = |delta: f64, p: f64| {
            json!({"before": 0.2, "after": 0.2 + delta, "delta": delta,
                   "ci": [delta - 0.05, delta + 0.05], "p": p, "p_holm": p,
                   "wins": 5, "ties": 1, "losses": 2})
        };
        let table = render(&json!({"n": 40, "metrics": {
            "rouge1": {"before": 0.0, "after": 0.0, "delta": 0.0, "p_holm": 1.0, "wins": 0},
           
            "f1": metric(0.1, 0.001), "em": metric(0.01, 0.5), "rouge_l": metric(-0.1, 0.01)}}));
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[0].starts_with("40 held-out"));
        assert!(lines[3].starts_with("exact match") && lines[3].ends_with("cannot tell"));
        assert!(lines[4].starts_with("token F1") && lines[4].ends_with("better"));
        assert!(lines[5].ends_with("same on every row"));
        assert!(lines[6].starts_with("ROUGE-L ") && lines[6].ends_with("worse"));
    }
}
