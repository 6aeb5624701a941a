//! CSV: RFC 4180 with a header; quoted fields may hold line breaks.

use std::collections::HashSet;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use csv::ErrorKind;
use serde_json::{Map, Value};

use super::line_at;
use super::raw::{Raw, RawReader};
use crate::error::DataError;
use crate::source::Format;

/// The records of a CSV text.
pub(super) struct CsvReader {
    path: PathBuf,
    columns: Vec<String>,
    records: csv::StringRecordsIntoIter<Cursor<Vec<u8>>>,
}

impl CsvReader {
    /// `text` is UTF-8 from byte `start` on.
    pub(super) fn new(path: &Path, text: Vec<u8>, start: usize) -> Result<Self, DataError> {
        if let Some(offset) = unclosed_quote(&text[start..]) {
            return Err(DataError::UnclosedQuote {
                path: path.to_path_buf(),
                line: line_at(&text[start..], offset),
            });
        }
        let mut bytes = Cursor::new(text);
        bytes.set_position(start as u64);
        let mut reader = csv::Reader::from_reader(bytes);
        let header = reader.headers().map_err(|e| fault(path, e))?;
        let columns: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
        let mut seen = HashSet::new();
        // pandas leaves the header of an index column empty.
        let twice = columns
            .iter()
            .find(|name| !name.is_empty() && !seen.insert(name.as_str()));
        if let Some(column) = twice {
            return Err(DataError::DuplicateColumn {
                path: path.to_path_buf(),
                column: column.clone(),
            });
        }
        Ok(Self {
            path: path.to_path_buf(),
            columns,
            records: reader.into_records(),
        })
    }
}

impl Iterator for CsvReader {
    type Item = Result<Raw, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let cells = match self.records.next()? {
            Ok(cells) => cells,
            Err(error) => return Some(Err(fault(&self.path, error))),
        };
        let named = self.columns.iter().zip(cells.iter());
        let values: Map<String, Value> = named
            .map(|(name, cell)| (name.clone(), Value::String(cell.to_owned())))
            .collect();
        let line = cells.position().map_or(0, csv::Position::line);
        Some(Ok(Raw { line, values }))
    }
}

impl RawReader for CsvReader {
    fn format(&self) -> Format {
        Format::Csv
    }

    fn header(&self) -> Option<&[String]> {
        Some(&self.columns)
    }
}

fn fault(path: &Path, error: csv::Error) -> DataError {
    let path = path.to_path_buf();
    match error.kind() {
        ErrorKind::UnequalLengths {
            pos,
            expected_len,
            len,
        } => DataError::Ragged {
            path,
            line: pos.as_ref().map_or(0, csv::Position::line),
            found: *len,
            expected: *expected_len,
        },
        _ => DataError::Csv {
            path,
            source: error,
        },
    }
}

/// Where a quote is opened that no quote closes. The `csv` crate takes the end of the file for a
/// closing quote, and so a file that was cut short for a whole one.
fn unclosed_quote(bytes: &[u8]) -> Option<usize> {
    let mut opened = None;
    let mut at_start = true;
    let mut i = 0;
    while i < bytes.len() {
        match (opened, bytes[i]) {
            // A doubled quote inside a quoted field stands for one.
            (Some(_), b'"') if bytes.get(i + 1) == Some(&b'"') => i += 1,
            (Some(_), b'"') => opened = None,
            (Some(_), _) => {}
            (None, b'"') if at_start => opened = Some(i),
            (None, byte) => at_start = matches!(byte, b',' | b'\n' | b'\r'),
        }
        if opened.is_some() {
            at_start = false;
        }
        i += 1;
    }
    opened
}
