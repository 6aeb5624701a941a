//! From bytes to records. [`file`] does what all formats share; a module for each does the rest.

mod columns;
mod csv_file;
mod curated;
mod json_file;
mod literal;

use std::fs;
use std::path::Path;

use crate::error::DataError;
use crate::row::is_blank;
use crate::source::{Format, Source};

pub(crate) fn file(path: &Path) -> Result<Source, DataError> {
    if path.is_dir() {
        return Err(DataError::IsFolder {
            path: path.to_path_buf(),
        });
    }
    let bytes = fs::read(path).map_err(|source| DataError::read(path, source))?;
    let format = format_of(path)?;
    let text = utf8(path, &bytes)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if is_blank(text) {
        return Err(DataError::Empty {
            path: path.to_path_buf(),
        });
    }
    match format {
        Format::Csv => csv_file::read(path, text),
        // Some exporters write an array into `.jsonl`, some write lines into `.json`.
        Format::Jsonl | Format::Json if text.trim_start().starts_with('[') => {
            json_file::read_array(path, text)
        }
        Format::Jsonl | Format::Json => json_file::read_lines(path, text),
    }
}

fn format_of(path: &Path) -> Result<Format, DataError> {
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    match extension.to_ascii_lowercase().as_str() {
        "csv" => Ok(Format::Csv),
        "jsonl" | "ndjson" => Ok(Format::Jsonl),
        "json" => Ok(Format::Json),
        _ => Err(DataError::UnknownFormat {
            path: path.to_path_buf(),
            found: extension.into_owned(),
        }),
    }
}

/// The bytes as text, or the place where they stop being UTF-8.
fn utf8<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str, DataError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let byte = error.valid_up_to();
        let advice = if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            "it looks like UTF-16: save it as UTF-8"
        } else if error.error_len().is_none() {
            "the file ends inside a character: it is cut short"
        } else {
            "save it as UTF-8"
        };
        DataError::Encoding {
            path: path.to_path_buf(),
            line: line_at(bytes, byte),
            byte,
            found: bytes[byte],
            advice,
        }
    })
}

/// The one-based line on which the byte at `offset` stands.
fn line_at(bytes: &[u8], offset: usize) -> u64 {
    bytes[..offset].split(|&b| b == b'\n').count() as u64
}
