use super::*;

fn pair<'a>(name: &'a str, kind: Kind, before: &'a [f64], after: &'a [f64]) -> MetricPair<'a> {
    MetricPair {
        name,
        kind,
        before,
        after,
    }
}

#[test]
fn identical_scores_give_p_of_one_everywhere() {
    let scores: Vec<f64> = (0..20).map(|i| f64::from(i) / 20.0).collect();
    let rights: Vec<f64> = (0..20).map(|i| f64::from(i % 2)).collect();
    let metrics = [
        pair("em", Kind::Binary, &rights, &rights),
        pair("f1", Kind::Score, &scores, &scores),
    ];
    let compared = compare_paired(&metrics, &CompareOptions::default()).expect("valid");
    assert_eq!(compared.verdict, Verdict::Same);
    for metric in &compared.metrics {
        assert_eq!(
            (metric.p, metric.p_holm, metric.p_sign, metric.ties),
            (1.0, 1.0, 1.0, 20)
        );
    }
    assert_eq!(
        compared.metrics[0].rows_needed,
        compared.metric("em").and_then(|m| m.rows_needed)
    );
}

#[test]
fn rounding_is_a_tie_not_a_win() {
    let (before, after) = ([0.3, 0.1 + 0.2], [0.1 + 0.2, 0.3]);
    let compared = compare_paired(
        &[pair("f1", Kind::Score, &before, &after)],
        &CompareOptions::default(),
    );
    assert_eq!(compared.expect("valid").metrics[0].ties, 2);
}

#[test]
fn a_clear_gain_is_called_better_and_its_mirror_worse() {
    let before = [0.2; 40];
    let after: Vec<f64> = (0..40).map(|i| 0.3 + f64::from(i % 5) / 50.0).collect();
    let options = CompareOptions::default();
    let up = compare_paired(&[pair("f1", Kind::Score, &before, &after)], &options).expect("valid");
    let down =
        compare_paired(&[pair("f1", Kind::Score, &after, &before)], &options).expect("valid");
    assert_eq!(
        (up.verdict, down.verdict),
        (Verdict::Better, Verdict::Worse)
    );
    assert_eq!((up.metrics[0].wins, down.metrics[0].losses), (40, 40));
    assert_eq!(up.metrics[0].p, down.metrics[0].p);
    assert!((up.metrics[0].delta + down.metrics[0].delta).abs() < 1e-15);
}

#[test]
fn one_row_says_nothing_but_does_not_fail() {
    let metrics = [
        pair("em", Kind::Binary, &[0.0], &[1.0]),
        pair("f1", Kind::Score, &[0.1], &[0.9]),
    ];
    let compared = compare_paired(&metrics, &CompareOptions::default()).expect("valid");
    assert!(compared.metrics[0].ci.is_some() && compared.metrics[1].ci.is_none());
    assert!(
        compared
            .metrics
            .iter()
            .all(|m| m.p == 1.0 && m.mde.is_none())
    );
    assert_eq!(compared.verdict, Verdict::CannotTell);
}

#[test]
fn wrong_input_is_a_typed_error() {
    let compare =
        |m: &[MetricPair<'_>]| compare_paired(m, &CompareOptions::default()).expect_err("wrong");
    assert!(matches!(compare(&[]), StatsError::TooFewRows { .. }));
    assert!(matches!(
        compare(&[pair("em", Kind::Binary, &[], &[])]),
        StatsError::TooFewRows { .. }
    ));
    let uneven = compare(&[pair("em", Kind::Binary, &[1.0], &[])]);
    assert!(matches!(
        uneven,
        StatsError::LengthMismatch {
            before: 1,
            after: 0,
            ..
        }
    ));
    let other = [
        pair("em", Kind::Binary, &[1.0], &[0.0]),
        pair("f1", Kind::Score, &[1.0, 1.0], &[1.0, 0.0]),
    ];
    assert!(matches!(
        compare(&other),
        StatsError::UnevenMetrics {
            found: 2,
            expected: 1,
            ..
        }
    ));
    let nan = compare(&[pair("f1", Kind::Score, &[0.5, 0.5], &[0.5, f64::NAN])]);
    assert!(matches!(nan, StatsError::NotFinite { row: 1, .. }));
    assert!(matches!(
        compare(&[pair("em", Kind::Binary, &[0.5], &[0.0])]),
        StatsError::OffScale { .. }
    ));
    assert!(matches!(
        compare(&[pair("f1", Kind::Score, &[1.5], &[0.0])]),
        StatsError::OffScale { .. }
    ));
}

#[test]
fn json_has_the_promised_fields_in_order() {
    let metrics = [
        pair("em", Kind::Binary, &[0.0, 1.0], &[1.0, 1.0]),
        pair("f1", Kind::Score, &[0.1, 0.2], &[0.3, 0.2]),
    ];
    let compared = compare_paired(&metrics, &CompareOptions::default()).expect("valid");
    let json = serde_json::to_string(&compared).expect("serialises");
    assert!(
        json.starts_with(r#"{"n":2,"metrics":{"em":{"before":0.5,"after":1.0,"delta":0.5,"ci":["#),
        "{json}"
    );
    for field in ["p", "p_holm", "test", "wins", "ties", "losses"] {
        assert!(json.contains(&format!("\"{field}\":")), "{field}: {json}");
    }
}

#[test]
fn many_nearly_equal_rows_show_that_no_difference_matters() {
    let before: Vec<f64> = (0..400).map(|i| f64::from(i % 7) / 10.0).collect();
    let after: Vec<f64> = before
        .iter()
        .enumerate()
        .map(|(i, b)| b + if i % 2 == 0 { 0.02 } else { -0.02 })
        .map(|a| a.clamp(0.0, 1.0))
        .collect();
    let metrics = [pair("f1", Kind::Score, &before, &after)];
    let compared = compare_paired(&metrics, &CompareOptions::default()).expect("valid");
    let f1 = &compared.metrics[0];
    assert_eq!(f1.verdict, Verdict::NoDifference);
    assert_eq!(f1.says, "no difference larger than 0.05");
    assert!(f1.p_equivalence.is_some_and(|p| p < 1e-6));
    let strict = CompareOptions {
        margin: 0.0001,
        ..CompareOptions::default()
    };
    let compared = compare_paired(&metrics, &strict).expect("valid");
    assert_eq!(compared.metrics[0].verdict, Verdict::CannotTell);
    assert!(compared.metrics[0].says.contains("fits these rows"));
}

#[test]
fn a_few_rows_never_show_sameness() {
    let (before, after) = ([0.5; 3], [0.51; 3]);
    let metrics = [pair("f1", Kind::Score, &before, &after)];
    let compared = compare_paired(&metrics, &CompareOptions::default()).expect("valid");
    assert_eq!(compared.metrics[0].p_equivalence, None);
    assert_eq!(compared.metrics[0].verdict, Verdict::CannotTell);
}

#[test]
fn clusters_of_one_row_change_nothing_and_real_ones_do() {
    let before: Vec<f64> = (0..40).map(|i| f64::from(i % 5) / 10.0).collect();
    let after: Vec<f64> = (0..40)
        .map(|i| f64::from(i % 5) / 10.0 + f64::from(i % 3) / 10.0)
        .collect();
    let right: Vec<f64> = (0..40).map(|i| f64::from(i % 8 == 0)).collect();
    let metrics = [
        pair("f1", Kind::Score, &before, &after),
        pair("em", Kind::Binary, &[0.0; 40], &right),
    ];
    let options = CompareOptions::default();
    let plain = compare_paired(&metrics, &options).expect("valid");
    let alone = Clusters::sharing((0..40).map(|i| [i]));
    let single = compare_paired_clustered(&metrics, &alone, &options).expect("valid");
    assert_eq!(plain, single);
    let tens = Clusters::sharing((0..40).map(|i| [i / 10]));
    let clustered = compare_paired_clustered(&metrics, &tens, &options).expect("valid");
    assert_eq!(clustered.clusters, Some(4));
    // Four clusters won of four: 2 / 2^4, whatever the number of rows.
    assert!(
        clustered
            .metrics
            .iter()
            .all(|m| m.p == 0.125 && m.p_sign == 0.125)
    );
    assert!(
        clustered
            .metrics
            .iter()
            .all(|m| m.test.contains("clustered"))
    );
    assert!((clustered.metrics[0].delta - plain.metrics[0].delta).abs() < 1e-15);
    let uneven = compare_paired_clustered(&metrics, &tens.subset(0..39), &options);
    assert!(uneven.is_err());
}
