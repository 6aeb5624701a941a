//! `SQuAD` scores equal the official evaluators' (`tests/golden/squad_scores.py`) to the last bit.

use serde_json::Value;
use textmetrics::metrics::parse;

#[test]
fn official_scores() {
    for name in ["squad_em", "squad_f1", "squad2_em", "squad2_f1"] {
        let mut metric = parse(name).unwrap();
        let mut rows = 0;
        for line in include_str!("../golden/squad.jsonl").lines().skip(1) {
            let row: Value = serde_json::from_str(line).unwrap();
            let refs = row["refs"].as_array().unwrap();
            let refs: Vec<&str> = refs.iter().map(|r| r.as_str().unwrap()).collect();
            let stats = metric.row(&refs, row["pred"].as_str().unwrap());
            assert_eq!(
                metric.row_score(&stats),
                row[name].as_f64(),
                "{name}: {line}"
            );
            rows += 1;
        }
        assert!(rows > 200);
    }
}
