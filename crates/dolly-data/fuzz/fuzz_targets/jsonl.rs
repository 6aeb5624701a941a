//! The reader of JSON Lines: whatever the bytes, it gives rows or an error without a panic; and rows
//! that it gives come back the same from the file that they are written to.

#![no_main]

use std::fs;
use std::sync::LazyLock;

use dolly_data::{load_rows, write_jsonl};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

fuzz_target!(|bytes: &[u8]| {
    let given = FOLDER.path().join("given.jsonl");
    fs::write(&given, bytes).unwrap();
    let Ok(loaded) = load_rows(&given) else {
        return;
    };
    let written = FOLDER.path().join("written.jsonl");
    write_jsonl(&written, &loaded.rows).unwrap();
    assert_eq!(load_rows(&written).unwrap().rows, loaded.rows);
});
