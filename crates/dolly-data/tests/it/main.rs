//! Integration tests of `dolly-data`: one binary, a module for each concern.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod anything;
mod bad_input;
mod curated;
#[cfg(feature = "hub")]
mod hub;
mod leaking;
mod numpy;
mod parquet;
mod parts;
mod reading;
mod shapes;
mod splitting;
mod writing;

use std::path::{Path, PathBuf};

use dolly_data::{DataError, Source, read_source};
use tempfile::TempDir;

/// A committed file of this crate's tests.
fn ours(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name)
}

/// Reads `bytes` as a file of this name.
fn read_as(name: &str, bytes: impl AsRef<[u8]>) -> Result<Source, DataError> {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    read_source(&path)
}

/// What a person sees when `bytes` are read as a file of this name, without the path.
fn complaint(name: &str, bytes: impl AsRef<[u8]>) -> String {
    let text = read_as(name, bytes).unwrap_err().to_string();
    let at = text.find(name).expect("the message names the file");
    text[at + name.len()..].to_owned()
}
