//! CSV: RFC 4180 with a header; quoted fields may hold line breaks.

use std::collections::HashMap;
use std::path::Path;

use csv::{ErrorKind, StringRecord};

use super::columns::{self, CONTEXT, FieldColumns, INSTRUCTION, RESPONSE};
use super::{curated, line_at};
use crate::error::DataError;
use crate::row::{Field, Record, is_blank};
use crate::source::{Format, Source};

pub(super) fn read(path: &Path, text: &str) -> Result<Source, DataError> {
    if let Some(offset) = unclosed_quote(text.as_bytes()) {
        return Err(DataError::UnclosedQuote {
            path: path.to_path_buf(),
            line: line_at(text.as_bytes(), offset),
        });
    }
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().map_err(|e| fault(path, e))?.clone();
    let names: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
    let places = places(path, &names)?;
    columns::check(path, &names)?;
    let mut records = Vec::new();
    for cells in reader.records() {
        let cells = cells.map_err(|e| fault(path, e))?;
        let cells = Cells {
            path,
            places: &places,
            values: &cells,
        };
        records.push(cells.record(records.len())?);
    }
    if records.is_empty() {
        return Err(DataError::NoRows {
            path: path.to_path_buf(),
        });
    }
    Ok(Source {
        path: path.to_path_buf(),
        format: Format::Csv,
        columns: names,
        records,
    })
}

fn places(path: &Path, names: &[String]) -> Result<HashMap<String, usize>, DataError> {
    let mut places = HashMap::new();
    for (place, name) in names.iter().enumerate() {
        // pandas leaves the header of an index column empty.
        if places.insert(name.clone(), place).is_some() && !name.is_empty() {
            return Err(DataError::DuplicateColumn {
                path: path.to_path_buf(),
                column: name.clone(),
            });
        }
    }
    Ok(places)
}

/// One record's cells, by name.
struct Cells<'a> {
    path: &'a Path,
    places: &'a HashMap<String, usize>,
    values: &'a StringRecord,
}

impl Cells<'_> {
    fn get(&self, column: &str) -> &str {
        let place = self.places.get(column);
        place.and_then(|&i| self.values.get(i)).unwrap_or_default()
    }

    fn line(&self) -> u64 {
        self.values.position().map_or(0, csv::Position::line)
    }

    fn record(&self, index: usize) -> Result<Record, DataError> {
        let id = self.get("id").trim();
        Ok(Record {
            id: if id.is_empty() {
                index.to_string()
            } else {
                id.to_owned()
            },
            category: self.get("category").to_owned(),
            instruction: self.field(&INSTRUCTION)?,
            context: self.field(&CONTEXT)?,
            response: self.field(&RESPONSE)?,
            line: self.line(),
        })
    }

    fn field(&self, columns: &FieldColumns) -> Result<Field, DataError> {
        let [plain, original] = columns.original.map(|column| self.get(column));
        let curated = curated::from_text(self.get(columns.curated)).map_err(|problem| {
            DataError::Curated {
                path: self.path.to_path_buf(),
                line: self.line(),
                column: columns.curated.to_owned(),
                problem,
            }
        })?;
        Ok(Field {
            original: if is_blank(plain) { original } else { plain }.to_owned(),
            curated,
        })
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
