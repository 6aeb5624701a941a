//! Every number equals the reference's to the last bit (`tests/golden/scores.py`).
//!
//! `TEXTMETRICS_PAIRS` names another file made by that script, for example with random pairs.

use serde_json::Value;
use textmetrics::rouge::{RougeScorer, Score};
use textmetrics::{Compat, ScoreOptions, Scorer, normalize, unicode};

fn pairs() -> String {
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/scores.jsonl");
    let path = std::env::var("TEXTMETRICS_PAIRS").unwrap_or_else(|_| committed.to_owned());
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn triple(score: Score) -> Value {
    serde_json::json!([score.precision, score.recall, score.f])
}

/// What our code says of a pair, in the shape of the golden row.
fn ours(want: &Value, scorer: &mut Scorer, rouge: &mut [(&str, RougeScorer); 2]) -> Value {
    let (gold, prediction) = (
        want["gold"].as_str().unwrap(),
        want["prediction"].as_str().unwrap(),
    );
    let score = scorer.score(gold, prediction);
    let mut row = serde_json::json!({
        "gold": gold, "prediction": prediction,
        "normal": [normalize(gold), normalize(prediction)], "lower": unicode::lower(gold),
        "em": u8::from(score.em), "relaxed": u8::from(score.relaxed), "f1": score.f1,
        "n_gold_tokens": score.gold_tokens,
    });
    for (name, scorer) in rouge {
        let r = scorer.score(gold, prediction);
        row[*name] = serde_json::json!({
            "rouge1": triple(r.rouge1), "rouge2": triple(r.rouge2),
            "rougeL": triple(r.rouge_l), "rougeLsum": triple(r.rouge_lsum),
        });
    }
    row
}

#[test]
fn golden_scores_are_equal() {
    let options = ScoreOptions {
        compat: Compat::Original,
        ..ScoreOptions::default()
    };
    let mut scorer = Scorer::new(options);
    let mut rouge = [
        ("stem", RougeScorer::new(true)),
        ("nostem", RougeScorer::new(false)),
    ];
    let text = pairs();
    let mut lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let versions = lines.next().unwrap();
    assert_eq!(versions["unicode"].as_str(), Some(unicode::UNICODE_VERSION));
    let mut rows = 0;
    for want in lines {
        assert_eq!(ours(&want, &mut scorer, &mut rouge), want);
        rows += 1;
    }
    assert!(rows >= 100, "{rows} pairs only");
}
