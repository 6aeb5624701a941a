//! The fixtures, carried inside the binary, so that it works in any folder and without a network.

use std::fs;
use std::path::{Path, PathBuf};

use stage::StageError;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../fixtures/",
            $name
        ))
    };
}

const MODEL: [(&str, &[u8]); 5] = [
    ("config.json", fixture!("tiny-model/config.json")),
    (
        "generation_config.json",
        fixture!("tiny-model/generation_config.json"),
    ),
    (
        "model.safetensors",
        fixture!("tiny-model/model.safetensors"),
    ),
    ("tokenizer.json", fixture!("tiny-model/tokenizer.json")),
    (
        "tokenizer_config.json",
        fixture!("tiny-model/tokenizer_config.json"),
    ),
];
const ROWS: &[u8] = fixture!("dolly-mini.jsonl");

/// The tiny model as a folder below `cache`.
pub(super) fn tiny_model(cache: &Path) -> Result<PathBuf, StageError> {
    let folder = cache.join("tiny-model");
    for (name, bytes) in MODEL {
        unpack(&folder.join(name), bytes)?;
    }
    Ok(folder)
}

/// How many rows the small data set has.
pub(super) fn row_count() -> usize {
    ROWS.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .count()
}

/// The small data set as a file below `cache`.
pub(super) fn rows(cache: &Path) -> Result<PathBuf, StageError> {
    let path = cache.join("dolly-mini.jsonl");
    unpack(&path, ROWS)?;
    Ok(path)
}

/// Writes `bytes` unless the file already holds them.
fn unpack(path: &Path, bytes: &[u8]) -> Result<(), StageError> {
    if fs::read(path).is_ok_and(|found| found == bytes) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    stage::create_folder(folder)?;
    stage::write_bytes(path, bytes)
}
