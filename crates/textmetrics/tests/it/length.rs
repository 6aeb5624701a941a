//! Length control against scipy (`tests/golden/length.py`).

use serde_json::Value;
use textmetrics::stats::length_control;

#[test]
fn correlations_and_intercepts_are_those_of_scipy() {
    let golden: Value = serde_json::from_str(include_str!("../golden/length.json")).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 6);
    for case in cases {
        let numbers = |name: &str| -> Vec<f64> {
            let list = case[name].as_array().unwrap();
            list.iter().map(|v| v.as_f64().unwrap()).collect()
        };
        let found = length_control(&numbers("x"), &numbers("y"), 0.95)
            .unwrap()
            .unwrap();
        let ends = numbers("matched_ci");
        for (name, found, wanted) in [
            ("pearson", found.pearson, case["pearson"].as_f64().unwrap()),
            (
                "spearman",
                found.spearman,
                case["spearman"].as_f64().unwrap(),
            ),
            (
                "delta",
                found.matched_delta,
                case["matched_delta"].as_f64().unwrap(),
            ),
            ("low", found.matched_ci[0], ends[0]),
            ("high", found.matched_ci[1], ends[1]),
        ] {
            assert!(
                (found - wanted).abs() < 1e-9,
                "{name}: {found}, scipy {wanted}"
            );
        }
    }
}
