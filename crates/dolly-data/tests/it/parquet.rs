//! Parquet as pyarrow writes it, and damaged.

use std::path::{Path, PathBuf};

use dolly_data::{Format, read_source};

use crate::complaint;

/// Written by pyarrow from the JSONL file beside it (`fixtures/scripts/make_parquet.py`).
fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/dolly-mini-curated.parquet")
}

#[test]
fn the_same_rows_as_in_jsonl() {
    let parquet = read_source(&fixture()).unwrap();
    let jsonl = read_source(&fixture().with_extension("jsonl")).unwrap();
    assert_eq!(parquet.format(), Format::Parquet);
    assert_eq!(parquet.len(), jsonl.len());
    for (a, b) in parquet.records().iter().zip(jsonl.records()) {
        assert_eq!((&a.id, &a.category), (&b.id, &b.category));
        assert_eq!(
            (&a.instruction, &a.context, &a.response),
            (&b.instruction, &b.context, &b.response),
            "{}",
            a.id
        );
    }
    assert_eq!(parquet.rows().unwrap(), jsonl.rows().unwrap());
}

#[test]
fn cut_short_or_damaged() {
    let whole = std::fs::read(fixture()).unwrap();
    for bytes in [&whole[..whole.len() / 2], &whole[..3], b""] {
        let heard = complaint("a.parquet", bytes);
        assert!(heard.starts_with(": not readable as Parquet"), "{heard}");
    }
    // A page in the middle, overwritten: some row says so, or the values differ; no panic.
    let mut refused = 0;
    for start in (64..whole.len() - 4096).step_by(whole.len() / 16) {
        let mut bytes = whole.clone();
        bytes[start..start + 48].fill(0xA5);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.parquet");
        std::fs::write(&path, bytes).unwrap();
        if let Err(error) = read_source(&path) {
            assert!(error.to_string().contains("a.parquet"), "{error}");
            refused += 1;
        }
    }
    assert!(refused > 8, "{refused}");
}
