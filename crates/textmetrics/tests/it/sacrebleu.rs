//! BLEU and chrF equal sacreBLEU's (`tests/golden/sacrebleu_scores.py`): counts and chrF to the last
//! bit, BLEU to 10⁻¹² because `exp` and `ln` are the platform's.

use serde_json::Value;
use textmetrics::metrics::{AnyStats, Bleu, TextMetric, parse};

const NAMES: [&str; 3] = ["bleu", "chrf", "chrf++"];

fn golden() -> (Vec<Value>, Vec<Value>) {
    let text = include_str!("../golden/sacrebleu.jsonl");
    let lines = text
        .lines()
        .skip(1)
        .map(|line| serde_json::from_str(line).unwrap());
    lines.partition(|line: &Value| line.get("corpus").is_none())
}

fn texts(row: &Value) -> (Vec<&str>, &str) {
    let refs = row["refs"].as_array().unwrap();
    (
        refs.iter().map(|r| r.as_str().unwrap()).collect(),
        row["pred"].as_str().unwrap(),
    )
}

fn check(name: &str, got: Option<f64>, want: &Value, about: &Value) {
    let (got, want) = (got.unwrap(), want.as_f64().unwrap());
    let near = if name == "bleu" {
        1e-12 * want.abs()
    } else {
        0.0
    };
    assert!(
        (got - want).abs() <= near,
        "{name}: {got} for {want} in {about}"
    );
}

#[test]
fn sentences_and_corpora() {
    let (rows, corpora) = golden();
    assert!(rows.len() > 150 && corpora.len() == 7);
    for name in NAMES {
        let mut metric = parse(name).unwrap();
        let mut stats: Vec<AnyStats> = Vec::new();
        for row in &rows {
            let (refs, prediction) = texts(row);
            stats.push(metric.row(&refs, prediction));
            check(
                name,
                metric.row_score(&stats[stats.len() - 1]),
                &row[name],
                row,
            );
        }
        for corpus in &corpora {
            let mut total = metric.zero();
            for at in corpus["corpus"].as_array().unwrap() {
                total.merge(&stats[at.as_u64().unwrap() as usize]).unwrap();
            }
            check(name, metric.score(&total), &corpus[name], corpus);
            let signature = metric.signature(&total);
            let (choices, _) = signature.split_once("|version:textmetrics-").unwrap();
            assert_eq!(Some(choices), corpus[format!("{name}_signature")].as_str());
        }
    }
}

#[test]
fn bleu_counts() {
    let mut bleu = Bleu::default();
    for row in golden().0 {
        let (refs, prediction) = texts(&row);
        let s = bleu.row(&refs, prediction);
        let ours = [&[s.predicted, s.reference], &s.correct[..], &s.total[..]].concat();
        assert_eq!(serde_json::json!(ours), row["stats"], "{row}");
    }
}
