//! Laws that hold for any text.

use proptest::prelude::*;
use textmetrics::rouge::RougeScorer;
use textmetrics::{
    Compat, Metric, RowScore, ScoreOptions, Summary, normalize, score_row, score_rows,
};

pub(crate) fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        prop::collection::vec(
            prop::sample::select(vec![
                "the", "cats", "cat", "running", "ran", "\n", "Σ", "İ", "é", "-", "42",
            ]),
            0..30
        )
        .prop_map(|words| words.join(" ")),
    ]
}

fn pairs() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::vec((text(), text()), 0..40)
}

fn scored(rows: &[(String, String)], options: &ScoreOptions) -> Vec<RowScore> {
    score_rows(rows, options, |(gold, prediction)| {
        (gold.as_str(), prediction.as_str())
    })
}

proptest! {
    #[test]
    fn merging_any_partition_gives_the_whole(
        rows in pairs(),
        shards in prop::collection::vec(0usize..5, 40),
        order in Just(vec![0usize, 1, 2, 3, 4]).prop_shuffle(),
    ) {
        let options = ScoreOptions::default();
        let scores = scored(&rows, &options);
        let whole: Summary = scores.iter().collect();
        let mut merged = Summary::default();
        for shard in order {
            let rows = scores.iter().zip(&shards).filter(|(_, of)| **of == shard);
            merged.merge(&rows.rev().map(|(score, _)| score).collect());
        }
        prop_assert_eq!(&merged, &whole);
        for metric in Metric::ALL {
            let sum: f64 = scores.iter().map(|s| metric.of(s)).sum();
            match whole.scores(&options).all.get(metric) {
                Some(mean) => prop_assert!((mean - sum / scores.len() as f64).abs() < 1e-12),
                None => prop_assert!(scores.is_empty()),
            }
        }
    }

    #[test]
    fn many_rows_are_scored_as_one(rows in pairs()) {
        let options = ScoreOptions { compat: Compat::Original, ..ScoreOptions::default() };
        let alone: Vec<_> = rows.iter().map(|(g, p)| score_row(g, p, &options)).collect();
        prop_assert_eq!(scored(&rows, &options), alone);
    }

    #[test]
    fn scores_lie_between_0_and_1_and_a_text_equals_itself(a in text(), b in text()) {
        let options = ScoreOptions::default();
        let (row, same) = (score_row(&a, &b, &options), score_row(&a, &a, &options));
        for metric in Metric::ALL {
            prop_assert!((0.0..=1.0).contains(&metric.of(&row)));
        }
        prop_assert!(same.em);
        prop_assert_eq!(same.f1, 1.0);
        prop_assert_eq!(same.rouge.rouge_l, same.rouge.rouge1);
    }

    #[test]
    fn f1_and_rouge_swap_precision_and_recall(a in text(), b in text()) {
        let options = ScoreOptions::default();
        let (ab, ba) = (score_row(&a, &b, &options), score_row(&b, &a, &options));
        prop_assert!((ab.f1 - ba.f1).abs() < 1e-15);
        for (x, y) in [
            (ab.rouge.rouge1, ba.rouge.rouge1),
            (ab.rouge.rouge2, ba.rouge.rouge2),
            (ab.rouge.rouge_l, ba.rouge.rouge_l),
        ] {
            prop_assert_eq!((x.precision, x.recall), (y.recall, y.precision));
        }
        prop_assert!(ab.rouge.rouge_l.f <= ab.rouge.rouge1.f);
    }

    #[test]
    fn on_one_line_the_summary_level_is_the_plain_one(a in "[a-d ]{0,80}", b in "[a-d ]{0,80}") {
        let rouge = RougeScorer::new(true).score(&a, &b);
        prop_assert_eq!(rouge.rouge_l, rouge.rouge_lsum);
    }

    #[test]
    fn default_and_original_differ_in_empty_predictions_only(a in text(), b in text()) {
        let original = ScoreOptions { compat: Compat::Original, ..ScoreOptions::default() };
        let ours = score_row(&a, &b, &ScoreOptions::default());
        let mut theirs = score_row(&a, &b, &original);
        if normalize(&b).trim().is_empty() {
            prop_assert!(!ours.relaxed);
            theirs.relaxed = false;
        }
        prop_assert_eq!(ours, theirs);
    }
}

#[test]
fn no_rows_have_no_means() {
    let scores = Summary::default().scores(&ScoreOptions::default());
    let json = serde_json::to_value(scores).unwrap();
    assert_eq!(json["short"]["n"], 0);
    assert_eq!(json["all"]["em"], serde_json::Value::Null);
}
