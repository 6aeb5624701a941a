//! Metrics by name: edit similarity against nltk (`tests/golden/edit.py`), the others against the functions that the
//! goldens check.

use serde_json::Value;
use textmetrics::metrics::{measure, parse};
use textmetrics::rouge::RougeScorer;
use textmetrics::{ScoreOptions, score_row};

fn score(name: &str, references: &[&str], prediction: &str) -> Option<f64> {
    let mut metric = parse(name).unwrap();
    let stats = metric.row(references, prediction);
    metric.score(&stats)
}

#[test]
fn edit_similarity_is_that_of_nltk() {
    let golden: Value = serde_json::from_str(include_str!("../golden/edit.json")).unwrap();
    let pairs = golden["pairs"].as_array().unwrap();
    assert_eq!(pairs.len(), 60);
    for pair in pairs {
        let (a, b) = (pair[0].as_str().unwrap(), pair[1].as_str().unwrap());
        let longer = a.chars().count().max(b.chars().count());
        let distance = pair[2].as_u64().unwrap() as usize;
        let want = if longer == 0 {
            1.0
        } else {
            (longer - distance) as f64 / longer as f64
        };
        assert_eq!(score("edit_similarity", &[a], b), Some(want), "{a:?} {b:?}");
        assert_eq!(score("edit_similarity", &[b], a), Some(want), "{b:?} {a:?}");
    }
}

#[test]
fn rouge_and_matches_are_those_of_the_scorers() {
    let pairs = [
        ("the cats sat on the mat", "a cat sat on mats"),
        (
            "Paris, the capital\nof France",
            "the capital of France is\nParis",
        ),
        ("", "x"),
        ("one two three four five six", "one two three four five six"),
    ];
    for (gold, prediction) in pairs {
        let row = score_row(gold, prediction, &ScoreOptions::default());
        assert_eq!(score("exact", &[gold], prediction), Some(f64::from(row.em)));
        assert_eq!(
            score("relaxed", &[gold], prediction),
            Some(f64::from(row.relaxed))
        );
        assert_eq!(score("token_f1", &[gold], prediction), Some(row.f1));
        let acc = score("acc_rougeLsum@0.5", &[gold], prediction);
        assert_eq!(acc, Some(f64::from(row.acc_at_rouge)));
        for (stem, suffix) in [(true, ""), (false, "_nostem")] {
            let mut scorer = RougeScorer::new(stem);
            let rouge = scorer.score(gold, prediction);
            let of = |name: &str| score(&format!("{name}{suffix}"), &[gold], prediction);
            assert_eq!(of("rougeL"), Some(rouge.rouge_l.f));
            assert_eq!(of("rougeLsum"), Some(rouge.rouge_lsum.f));
            for n in 1..=9 {
                let want = scorer.rouge_n(gold, prediction, n).f;
                assert_eq!(of(&format!("rouge{n}")), Some(want));
            }
        }
    }
}

#[test]
fn the_best_of_several_references_and_no_reference() {
    for name in [
        "exact",
        "token_f1",
        "rouge2",
        "rougeLsum",
        "edit_similarity",
        "acc_rougeLsum@1",
    ] {
        assert_eq!(
            score(name, &["no", "the red house"], "the red house"),
            Some(1.0),
            "{name}"
        );
        assert_eq!(score(name, &[], "the red house"), None, "{name}");
    }
}

#[test]
fn a_threshold_that_floats_miss_is_noted() {
    // F = 2/10, which floats compute as 0.19999999999999998
    let rows = [("a b c d e f g h i", "a")];
    let measured = measure("acc_rougeLsum@0.2", &rows, |row| (vec![row.0], row.1)).unwrap();
    assert_eq!(measured.score, Some(0.0));
    assert_eq!(measured.note.as_deref(), Some("in whole numbers 1.0000"));
}

#[test]
fn distinct_counts_over_all_rows() {
    let rows = ["a b a", "A b!", ""];
    let of = |name| measure(name, &rows, |row| (Vec::new(), row)).unwrap().score;
    assert_eq!(of("distinct_1"), Some(2.0 / 5.0));
    assert_eq!(of("distinct_2"), Some(2.0 / 3.0));
    assert_eq!(of("distinct_3"), Some(1.0));
    assert_eq!(score("distinct_2", &[], "one"), None);
    assert!(
        !parse("distinct_1").unwrap().can_be_resampled()
            && parse("bleu").unwrap().can_be_resampled()
    );
}

#[test]
fn wrong_numbers_are_no_names() {
    for name in [
        "rouge0",
        "rouge10",
        "rouge",
        "rougel",
        "distinct_0",
        "distinct_4",
        "acc_rougeLsum@1.5",
        "acc_rougeLsum@x",
    ] {
        assert!(parse(name).is_err(), "{name}");
    }
}

#[test]
fn sentences_in_the_place_of_lines() {
    let golden: Value = serde_json::from_str(include_str!("../golden/sentences.json")).unwrap();
    let rows = golden["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 120);
    for row in rows {
        let texts = |key: &str| -> Vec<&str> {
            let items = row[key].as_array().unwrap().iter();
            items.map(|text| text.as_str().unwrap()).collect()
        };
        let mut scorer = RougeScorer::new(row["stem"].as_bool().unwrap());
        let score = scorer.score_sentences(&texts("gold"), &texts("prediction"));
        let ours = serde_json::json!([score.precision, score.recall, score.f]);
        assert_eq!(ours, row["want"], "{row}");
    }
}
