//! The parser of Python literals, by the two ways that a cell comes to it: whatever the cell says, it
//! is read without a panic, and it says the same in a CSV file as in a line of JSON.

#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use dolly_data::{DataError, Record, read_source};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

fn read(name: &str, text: &str) -> Result<Record, DataError> {
    let path: PathBuf = FOLDER.path().join(name);
    fs::write(&path, text).unwrap();
    read_source(&path).map(|source| source.records()[0].clone())
}

fuzz_target!(|cell: &str| {
    let csv = format!(
        "instruction,response,new-response\nq,a,\"{}\"\n",
        cell.replace('"', "\"\"")
    );
    let json = serde_json::json!({"instruction": "q", "response": "a", "new-response": cell});
    match (
        read("cell.csv", &csv),
        read("cell.jsonl", &format!("{json}\n")),
    ) {
        (Ok(csv), Ok(json)) => assert_eq!(csv.response, json.response),
        (Err(_), Err(_)) => {}
        (csv, json) => panic!("CSV and JSON disagree: {csv:?} and {json:?}"),
    }
});
