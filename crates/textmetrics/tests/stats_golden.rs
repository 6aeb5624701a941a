//! `textmetrics::stats` against scipy and statsmodels (`golden/stats.json`, made by `golden/stats.py`).

use serde_json::Value;
use textmetrics::stats::{self, special};

fn golden(section: &str) -> Vec<Vec<Value>> {
    let all: Value =
        serde_json::from_str(include_str!("golden/stats.json")).expect("golden file is JSON");
    serde_json::from_value(all[section].clone()).expect("section is a list of lists")
}

fn numbers(row: &[Value]) -> Vec<f64> {
    row.iter().map(|v| v.as_f64().expect("a number")).collect()
}

fn list(value: &Value) -> Vec<f64> {
    numbers(value.as_array().expect("a list"))
}

/// Runs `ours` on all but the last number of each row and compares with the last, relatively.
fn check(section: &str, tolerance: f64, ours: impl Fn(&[f64]) -> f64) {
    let rows = golden(section);
    assert!(!rows.is_empty());
    for row in rows {
        let row = numbers(&row);
        let (want, input) = row.split_last().expect("a row");
        let got = ours(input);
        assert!(
            (got - want).abs() <= (tolerance * want.abs()).max(1e-300),
            "{section}{input:?}: {got} against {want}"
        );
    }
}

#[test]
fn special_functions() {
    check("ln_gamma", 1e-13, |v| special::ln_gamma(v[0]));
    check("incomplete_beta", 2e-11, |v| {
        special::incomplete_beta(v[0], v[1], v[2])
    });
    check("normal_cdf", 1e-12, |v| special::normal_cdf(v[0]));
    check("normal_quantile", 1e-12, |v| {
        if v[0] == 0.5 {
            0.0
        } else {
            special::normal_quantile(v[0])
        }
    });
    assert!(special::normal_quantile(0.5).abs() < 1e-15);
    check("t_quantile", 1e-9, |v| special::t_quantile(v[0], v[1]));
}

#[test]
fn exact_tests_on_counts() {
    check("binomial", 1e-10, |v| {
        stats::exact_binomial_half(v[0] as u64, v[1] as u64)
    });
    check("mcnemar", 1e-11, |v| {
        stats::mcnemar(v[0] as u64, v[1] as u64)
    });
}

#[test]
fn rate_intervals() {
    for row in golden("wilson") {
        let v = numbers(&row);
        let ci = stats::wilson(v[0] as u64, v[1] as u64, v[2]).expect("valid");
        assert!(
            (ci.lo - v[3]).abs() < 1e-12 && (ci.hi - v[4]).abs() < 1e-12,
            "{v:?} {ci:?}"
        );
    }
    for row in golden("newcombe") {
        let v = numbers(&row);
        let [both, before, after, neither] = [0, 1, 2, 3].map(|i| v[i] as u64);
        let ci = stats::newcombe_paired(both, before, after, neither, 0.95).expect("valid");
        assert!(
            (ci.lo - v[4]).abs() < 1e-12 && (ci.hi - v[5]).abs() < 1e-12,
            "{v:?} {ci:?}"
        );
    }
}

/// The worked example of Newcombe's paper: 36, 12, 2, 0 gives 0.0569 to 0.3404.
#[test]
fn newcombe_as_published() {
    let ci = stats::newcombe_paired(36, 2, 12, 0, 0.95).expect("valid");
    assert_eq!(
        (format!("{:.4}", ci.lo), format!("{:.4}", ci.hi)),
        ("0.0569".into(), "0.3404".into())
    );
}

#[test]
fn student_t_interval() {
    let row = &golden_row("student_t");
    let ci = stats::student_t(&list(&row[0]), row[1].as_f64().expect("level")).expect("valid");
    let want = numbers(&row[2..]);
    assert!(
        (ci.lo - want[0]).abs() < 1e-10 && (ci.hi - want[1]).abs() < 1e-10,
        "{ci:?} {want:?}"
    );
}

fn golden_row(section: &str) -> Vec<Value> {
    let all: Value =
        serde_json::from_str(include_str!("golden/stats.json")).expect("golden file is JSON");
    all[section].as_array().expect("a list").clone()
}

#[test]
fn holm_adjustment() {
    for row in golden("holm") {
        let adjusted = stats::holm(&list(&row[0])).expect("valid");
        for (got, want) in adjusted.iter().zip(list(&row[1])) {
            assert!((got - want).abs() < 1e-13, "{adjusted:?}");
        }
    }
}

#[test]
fn sign_flip_counts_every_pattern() {
    for row in golden("sign_flip") {
        let flipped = stats::sign_flip(&list(&row[0]), 0, 0).expect("valid");
        let want = row[1].as_f64().expect("p");
        assert!(
            flipped.exact && (flipped.p - want).abs() < 1e-15,
            "{flipped:?} {want}"
        );
    }
}

#[test]
fn power_effect_and_rows() {
    check("power", 1e-6, |v| {
        stats::paired_power(v[0], v[1], v[2] as u64, v[3]).expect("valid")
    });
    check("mde", 1e-6, |v| {
        stats::minimal_detectable_effect(v[0], v[1] as u64, 0.05, 0.8).expect("valid")
    });
    check("rows", 0.0, |v| {
        stats::rows_needed(v[0], v[1], 0.05, 0.8)
            .expect("valid")
            .expect("finite") as f64
    });
}

#[test]
fn exact_intervals_of_rates() {
    let rows = golden("clopper_pearson");
    assert!(!rows.is_empty());
    for row in rows {
        let row = numbers(&row);
        let got = stats::clopper_pearson(row[0] as u64, row[1] as u64, row[2]).expect("valid");
        assert!(
            (got.lo - row[3]).abs() <= 1e-10 && (got.hi - row[4]).abs() <= 1e-10,
            "{row:?}: {got:?}"
        );
    }
}

#[test]
fn equivalence_of_pairs() {
    let rows = golden("equivalence");
    assert!(!rows.is_empty());
    for row in rows {
        let got = stats::equivalence(&list(&row[0]), numbers(&row[1..2])[0]).expect("valid");
        for (got, want) in [got.p_above, got.p_below].iter().zip(numbers(&row[2..])) {
            assert!(
                (got - want).abs() <= 1e-9 * want.max(1e-6),
                "{got} against {want}"
            );
        }
    }
}
