//! Statistics of any partition, merged in any order, are those of the whole; for every metric.

use crate::properties::text;
use proptest::prelude::*;
use textmetrics::metrics::{AnyStats, measure, names, parse};

type Row = (Vec<String>, String);

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let references = prop::collection::vec(text(), 0..4);
    prop::collection::vec((references, text()), 0..20)
}

fn refs((references, prediction): &Row) -> (Vec<&str>, &str) {
    let references = references.iter().map(String::as_str).collect();
    (references, prediction)
}

proptest! {
    #[test]
    fn any_partition_in_any_order(
        rows in rows(),
        shards in prop::collection::vec(0usize..4, 20),
        order in Just(vec![0usize, 1, 2, 3]).prop_shuffle(),
    ) {
        for name in names() {
            let whole = measure(name, &rows, refs).unwrap();
            let mut metric = parse(name).unwrap();
            let mut parts = vec![metric.zero(); 4];
            for (row, &shard) in rows.iter().zip(&shards).rev() {
                let (references, prediction) = refs(row);
                parts[shard].merge(&metric.row(&references, prediction)).unwrap();
            }
            let mut merged: AnyStats = metric.zero();
            for &at in &order {
                merged.merge(&parts[at]).unwrap();
            }
            prop_assert_eq!(&merged, &whole.total, "{}", name);
            prop_assert_eq!(metric.score(&merged), whole.score);
            prop_assert_eq!(metric.signature(&merged), whole.signature);
        }
    }

    #[test]
    fn scores_are_in_range(rows in rows()) {
        for name in names() {
            let metric = parse(name).unwrap();
            let measured = measure(name, &rows, refs).unwrap();
            let scores = measured.rows.iter().map(|row| metric.row_score(row));
            for score in scores.chain([measured.score]).flatten() {
                let top = metric.full_marks().unwrap_or(f64::MAX) * (1.0 + 1e-12);
                prop_assert!((0.0..=top).contains(&score), "{name}: {score}");
            }
        }
    }
}

#[test]
fn names_are_read_back_and_kinds_do_not_mix() {
    for name in names() {
        assert_eq!(parse(name).unwrap().name(), name);
    }
    let unknown = parse("blue").err().unwrap().to_string();
    assert!(
        unknown.contains("\"blue\"") && unknown.contains("chrf++"),
        "{unknown}"
    );
    let (bleu, chrf) = (parse("bleu").unwrap(), parse("chrf").unwrap());
    assert!(bleu.zero().merge(&chrf.zero()).is_err());
    assert_eq!(bleu.score(&chrf.zero()), None);
}

#[test]
fn surface_metrics_by_hand() {
    let score = |name, refs: &[&str], prediction| {
        let mut metric = parse(name).unwrap();
        let stats = metric.row(refs, prediction);
        metric.score(&stats)
    };
    assert_eq!(
        score("length_ratio", &["a b c d", "a b"], "x y z"),
        Some(1.5)
    );
    assert_eq!(score("length_ratio", &["..."], "x"), None);
    assert_eq!(score("repetition", &[], "a b c d a b c d"), Some(0.2));
    assert_eq!(score("repetition", &[], "a b c"), None);
    assert_eq!(score("refusal", &[], "I’m sorry, but no."), Some(1.0));
    assert_eq!(score("refusal", &[], "Sorrynot."), Some(0.0));
    assert_eq!(score("empty", &[], " ...\n"), Some(1.0));
    assert_eq!(score("empty", &[], "0"), Some(0.0));
}
