//! JSON Lines, and JSON arrays of objects.

use std::path::{Path, PathBuf};
use std::vec;

use serde_json::Value;
use serde_json::value::RawValue;

use super::raw::{Raw, RawReader};
use crate::error::DataError;
use crate::row::is_blank;
use crate::source::Format;

/// The objects of a JSON text and the lines that they start on.
pub(super) struct JsonReader {
    path: PathBuf,
    text: String,
    format: Format,
    /// For an array: where each element stands, and its line.
    elements: Option<vec::IntoIter<(usize, usize, u64)>>,
    /// For lines: where the next one starts, and how many came before it.
    at: usize,
    line: u64,
}

impl JsonReader {
    pub(super) fn lines(path: &Path, text: String) -> Self {
        Self {
            path: path.to_path_buf(),
            text,
            format: Format::Jsonl,
            elements: None,
            at: 0,
            line: 0,
        }
    }

    pub(super) fn array(path: &Path, text: String) -> Result<Self, DataError> {
        // Elements as they stand in the text, so that each still knows its line.
        let found: Vec<&RawValue> =
            serde_json::from_str(&text).map_err(|e| array_fault(path, e, 0))?;
        let (mut line, mut seen) = (1, 0);
        let mut elements = Vec::with_capacity(found.len());
        for element in found {
            let start = element.get().as_ptr() as usize - text.as_ptr() as usize;
            line += text[seen..start].matches('\n').count() as u64;
            seen = start;
            elements.push((start, start + element.get().len(), line));
        }
        Ok(Self {
            path: path.to_path_buf(),
            text,
            format: Format::Json,
            elements: Some(elements.into_iter()),
            at: 0,
            line: 0,
        })
    }

    fn next_line(&mut self) -> Option<Result<Raw, DataError>> {
        loop {
            let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
            let (line, torn) = match rest.split_once('\n') {
                Some((line, _)) => (line, false),
                None => (rest, true),
            };
            self.at += line.len() + usize::from(!torn);
            self.line += 1;
            let line = line.strip_suffix('\r').unwrap_or(line);
            if !is_blank(line) {
                let value = serde_json::from_str(line).map_err(|source| DataError::Json {
                    path: self.path.clone(),
                    line: self.line,
                    hint: if torn {
                        " (the last line, without an end of line: it is cut short)"
                    } else {
                        ""
                    },
                    source,
                });
                return Some(value.and_then(|value| self.object(self.line, value)));
            }
        }
    }

    fn object(&self, line: u64, value: Value) -> Result<Raw, DataError> {
        match value {
            Value::Object(values) => Ok(Raw { line, values }),
            other => Err(DataError::NotAnObject {
                path: self.path.clone(),
                line,
                found: kind(&other),
            }),
        }
    }
}

impl Iterator for JsonReader {
    type Item = Result<Raw, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Some(elements) = &mut self.elements else {
            return self.next_line();
        };
        let (start, end, line) = elements.next()?;
        let value = serde_json::from_str(&self.text[start..end])
            .map_err(|e| array_fault(&self.path, e, line - 1));
        Some(value.and_then(|value| self.object(line, value)))
    }
}

impl RawReader for JsonReader {
    fn format(&self) -> Format {
        self.format
    }

    fn header(&self) -> Option<&[String]> {
        None
    }
}

fn array_fault(path: &Path, source: serde_json::Error, before: u64) -> DataError {
    DataError::Json {
        path: path.to_path_buf(),
        line: before + source.line() as u64,
        hint: if source.is_eof() {
            " (the array does not end: the file is cut short)"
        } else {
            ""
        },
        source,
    }
}

pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(n) if n.is_f64() => "a fraction",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
