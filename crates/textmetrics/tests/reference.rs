//! Agreement with the reference material: 315 pairs scored by `rouge_score` and the original
//! evaluator, and 9,353 stems by nltk. Needs `SMOLTUNE_REFERENCE`, the folder with `golden/`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use serde_json::Value;
use std::path::PathBuf;
use textmetrics::rouge::{RougeScorer, Score};
use textmetrics::{Compat, Metric, ScoreOptions, Summary, porter, score_row};

fn golden(name: &str) -> String {
    let folder = std::env::var("SMOLTUNE_REFERENCE")
        .expect("set SMOLTUNE_REFERENCE to the folder that holds golden/");
    let path = PathBuf::from(folder).join("golden").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn rows(name: &str) -> Vec<Value> {
    golden(name)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap()
}

fn check_rouge(row: &Value, got: Score, key: &str, at: usize) {
    let got = [got.precision, got.recall, got.f];
    for (value, want) in got.into_iter().zip(row[key].as_array().unwrap()) {
        assert_eq!(value, want.as_f64().unwrap(), "row {at}, {key}");
    }
}

fn check_file(name: &str) {
    let options = ScoreOptions {
        compat: Compat::Original,
        ..ScoreOptions::default()
    };
    let mut summary = Summary::default();
    let wanted = rows(name);
    for (at, row) in wanted.iter().enumerate() {
        let (gold, prediction) = (text(row, "gold"), text(row, "prediction"));
        let score = score_row(gold, prediction, &options);
        assert_eq!(
            Some(u64::from(score.em)),
            row["em"].as_u64(),
            "row {at}, em"
        );
        assert_eq!(
            Some(u64::from(score.relaxed)),
            row["relaxed"].as_u64(),
            "row {at}, relaxed"
        );
        assert_eq!(Some(score.f1), row["f1"].as_f64(), "row {at}, f1");
        assert_eq!(
            Some(score.gold_tokens as u64),
            row["n_gold_tokens"].as_u64(),
            "row {at}"
        );
        for (stem, suffix) in [(true, "stem"), (false, "nostem")] {
            let rouge = RougeScorer::new(stem).score(gold, prediction);
            check_rouge(row, rouge.rouge1, &format!("rouge1_{suffix}"), at);
            check_rouge(row, rouge.rouge2, &format!("rouge2_{suffix}"), at);
            check_rouge(row, rouge.rouge_l, &format!("rougeL_{suffix}"), at);
            check_rouge(row, rouge.rouge_lsum, &format!("rougeLsum_{suffix}"), at);
        }
        summary.push(&score);
    }
    let plain = wanted
        .iter()
        .map(|r| r["rougeLsum_stem"][2].as_f64().unwrap())
        .sum::<f64>();
    let got = summary.scores(&options).all.rouge_lsum.unwrap();
    assert!((got - plain / wanted.len() as f64).abs() < 1e-12);
}

#[test]
fn synthetic_pairs() {
    check_file("synth300_scores.jsonl");
}

#[test]
fn greedy_answers() {
    check_file("baseline_greedy_scores.jsonl");
}

#[test]
fn porter_stems() {
    let stems: Value = serde_json::from_str(&golden("porter_nltk_stems.json")).unwrap();
    for (word, stem) in stems.as_object().unwrap() {
        assert_eq!(porter::stem(word), stem.as_str().unwrap(), "{word}");
    }
}

#[test]
fn the_default_differs_in_two_relaxed_matches_only() {
    let original = ScoreOptions {
        compat: Compat::Original,
        ..ScoreOptions::default()
    };
    let mut differing = 0;
    for row in rows("synth300.jsonl") {
        let (gold, prediction) = (text(&row, "gold"), text(&row, "prediction"));
        let [ours, theirs] =
            [ScoreOptions::default(), original].map(|o| score_row(gold, prediction, &o));
        let metrics = Metric::ALL
            .into_iter()
            .filter(|m| m.of(&ours) != m.of(&theirs));
        for metric in metrics {
            assert_eq!((metric, prediction.trim()), (Metric::Relaxed, ""));
            differing += 1;
        }
    }
    assert_eq!(differing, 2);
}
