//! Against the published split. `SMOLTUNE_REFERENCE` names the folder with `data/` and `golden/`.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::path::PathBuf;

use dolly_data::{Record, Row, Source, SplitSpec, load_rows, read_source};
use serde_json::Value;

fn reference(path: &str) -> PathBuf {
    let folder = std::env::var_os("SMOLTUNE_REFERENCE")
        .expect("set SMOLTUNE_REFERENCE to the folder that holds data/ and golden/");
    PathBuf::from(folder).join(path)
}

fn published() -> [Source; 2] {
    ["data/dolly-test-15.csv", "data/dolly-train-1000.csv"]
        .map(|file| read_source(&reference(file)).unwrap())
}

fn ids(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| record.id.as_str()).collect()
}

#[test]
fn every_curated_cell_parses() {
    let mut cells = 0;
    for record in published().iter().flat_map(Source::records) {
        for field in [&record.instruction, &record.context, &record.response] {
            assert_eq!(field.curated.len(), 1, "row {}", record.id);
            assert!(field.curated[0].value.is_some());
            assert_eq!(field.curated[0].status.as_deref(), Some("submitted"));
            cells += 1;
        }
    }
    assert_eq!(cells, 3 * 1015);
}

#[test]
fn the_split_is_the_published_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("all.jsonl");
    let row = |i| format!("{{\"id\": {i}, \"instruction\": \"q\", \"response\": \"r\"}}\n");
    let lines: Vec<String> = (0..15_015).map(row).collect();
    std::fs::write(&file, lines.concat()).unwrap();
    let split = read_source(&file)
        .unwrap()
        .split(&SplitSpec::default())
        .unwrap();
    let drawn = |rows: &[Row]| rows.iter().map(|row| row.id.clone()).collect::<Vec<_>>();
    let [test, train] = published();
    assert_eq!(drawn(&split.test.rows), ids(test.records()));
    assert_eq!(drawn(&split.train.rows), ids(train.records()));
}

#[test]
fn rows_are_those_that_the_original_saw() {
    let rows = load_rows(&reference("data/dolly-test-15.csv")).unwrap();
    assert_eq!((rows.rows.len(), rows.dropped.len()), (15, 0));
    let golden = std::fs::read_to_string(reference("golden/baseline_greedy.jsonl")).unwrap();
    for (row, line) in rows.rows.iter().zip(golden.lines()) {
        let want: Value = serde_json::from_str(line).unwrap();
        assert_eq!(want["instruction"], row.instruction.as_str());
        assert_eq!(
            want["context"].as_str().unwrap_or_default(),
            row.context.as_deref().unwrap_or_default()
        );
        assert_eq!(want["gold"], row.response.as_str());
    }
}
