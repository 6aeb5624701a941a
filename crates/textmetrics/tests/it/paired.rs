//! Paired rates, clusters, noise floor and bootstrap against scipy and statsmodels (`tests/golden/paired.py`).

use serde_json::Value;
use textmetrics::stats::{
    Clusters, CompareOptions, Kind, MetricPair, compare_paired_clustered, equivalence_of_rates,
    noise_floor, percentile_bootstrap,
};

fn golden() -> Value {
    serde_json::from_str(include_str!("../golden/paired.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    let items = value.as_array().unwrap().iter();
    items.map(|v| v.as_f64().unwrap()).collect()
}

fn close(ours: f64, theirs: f64, tolerance: f64, what: &str) {
    assert!(
        (ours - theirs).abs() <= tolerance,
        "{what}: {ours} against {theirs}"
    );
}

#[test]
fn score_tests_of_rates() {
    for case in golden()["rates"].as_array().unwrap() {
        let values = numbers(case);
        let [wins, losses, rows] = [0, 1, 2].map(|i| values[i] as u64);
        let ours = equivalence_of_rates(wins, losses, rows, values[3]).unwrap();
        // The reference searches for its maximum.
        close(ours.p_above, values[4], 1e-6, &format!("above, {case}"));
        close(ours.p_below, values[5], 1e-6, &format!("below, {case}"));
    }
}

#[test]
fn clustered_mean_interval_and_equivalence() {
    for case in golden()["clustered"].as_array().unwrap() {
        let (before, after) = (numbers(&case["before"]), numbers(&case["after"]));
        let labels = case["labels"].as_array().unwrap().iter();
        let clusters = Clusters::sharing(labels.map(|label| [label.as_u64().unwrap()]));
        let pair = MetricPair {
            name: "score",
            kind: Kind::Score,
            before: &before,
            after: &after,
        };
        let options = CompareOptions {
            margin: case["margin"].as_f64().unwrap(),
            ..CompareOptions::default()
        };
        let compared = compare_paired_clustered(&[pair], &clusters, &options).unwrap();
        let (score, ci) = (&compared.metrics[0], compared.metrics[0].ci.unwrap());
        for (name, ours) in [
            ("mean", score.delta),
            ("lo", ci.lo),
            ("hi", ci.hi),
            ("p_equivalence", score.p_equivalence.unwrap()),
        ] {
            close(ours, case[name].as_f64().unwrap(), 1e-9, name);
        }
    }
}

#[test]
fn noise_floor_is_near_the_enumerated_quantile() {
    let noise = &golden()["noise"];
    let (differences, bound) = (
        numbers(&noise["differences"]),
        noise["bound"].as_f64().unwrap(),
    );
    let ours = noise_floor(&differences, noise["confidence"].as_f64().unwrap()).unwrap();
    // A normal distribution stands for the enumeration of sign patterns.
    close(ours.bound / bound, 1.0, 0.02, "bound");
}

#[test]
fn percentile_bootstrap_of_a_ratio() {
    let case = &golden()["bootstrap"];
    let (a, b) = (numbers(&case["a"]), numbers(&case["b"]));
    let ratio = |rows: &[usize]| {
        let sum = |of: &[f64]| rows.iter().map(|&row| of[row]).sum::<f64>();
        sum(&a) / sum(&b)
    };
    let ours = percentile_bootstrap(a.len(), 0.95, 100_000, 3, ratio).unwrap();
    // Both are samples: a standard error of the quantiles is about 0.0002.
    close(ours.lo, case["lo"].as_f64().unwrap(), 0.001, "low");
    close(ours.hi, case["hi"].as_f64().unwrap(), 0.001, "high");
}
