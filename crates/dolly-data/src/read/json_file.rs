//! JSON Lines, and JSON arrays of objects.

use std::path::Path;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::columns::{self, CONTEXT, FieldColumns, INSTRUCTION, RESPONSE};
use super::curated;
use crate::error::DataError;
use crate::row::{Field, Record, is_blank};
use crate::source::{Format, Source};

pub(super) fn read_lines(path: &Path, text: &str) -> Result<Source, DataError> {
    let mut rows = Rows::new(path);
    let torn = !text.ends_with('\n');
    let last = text.lines().count();
    for (i, line) in text.lines().enumerate() {
        if is_blank(line) {
            continue;
        }
        let number = i as u64 + 1;
        let value = serde_json::from_str(line).map_err(|source| DataError::Json {
            path: path.to_path_buf(),
            line: number,
            hint: if torn && i + 1 == last {
                " (the last line, without an end of line: it is cut short)"
            } else {
                ""
            },
            source,
        })?;
        rows.push(number, value)?;
    }
    rows.finish(Format::Jsonl)
}

pub(super) fn read_array(path: &Path, text: &str) -> Result<Source, DataError> {
    let fault = |source: serde_json::Error, before: u64| DataError::Json {
        path: path.to_path_buf(),
        line: before + source.line() as u64,
        hint: if source.is_eof() {
            " (the array does not end: the file is cut short)"
        } else {
            ""
        },
        source,
    };
    // Elements as they stand in the text, so that each still knows its line.
    let elements: Vec<&RawValue> = serde_json::from_str(text).map_err(|e| fault(e, 0))?;
    let mut rows = Rows::new(path);
    let (mut line, mut seen) = (1, 0);
    for element in elements {
        let start = element.get().as_ptr() as usize - text.as_ptr() as usize;
        line += text[seen..start].matches('\n').count() as u64;
        seen = start;
        let value = serde_json::from_str(element.get()).map_err(|e| fault(e, line - 1))?;
        rows.push(line, value)?;
    }
    rows.finish(Format::Json)
}

/// Records so far, and the keys seen in them.
struct Rows<'a> {
    path: &'a Path,
    keys: Vec<String>,
    records: Vec<Record>,
}

impl<'a> Rows<'a> {
    fn new(path: &'a Path) -> Self {
        Self {
            path,
            keys: Vec::new(),
            records: Vec::new(),
        }
    }

    fn push(&mut self, line: u64, value: Value) -> Result<(), DataError> {
        let Value::Object(object) = value else {
            return Err(DataError::NotAnObject {
                path: self.path.to_path_buf(),
                line,
                found: kind(&value),
            });
        };
        for key in object.keys() {
            if !self.keys.contains(key) {
                self.keys.push(key.clone());
            }
        }
        let reader = Object {
            path: self.path,
            line,
            map: object,
        };
        self.records.push(reader.record(self.records.len())?);
        Ok(())
    }

    fn finish(self, format: Format) -> Result<Source, DataError> {
        if self.records.is_empty() {
            return Err(DataError::Empty {
                path: self.path.to_path_buf(),
            });
        }
        columns::check(self.path, &self.keys)?;
        Ok(Source {
            path: self.path.to_path_buf(),
            format,
            columns: self.keys,
            records: self.records,
        })
    }
}

/// One JSON object, and where it stands.
struct Object<'a> {
    path: &'a Path,
    line: u64,
    map: Map<String, Value>,
}

impl Object<'_> {
    fn record(mut self, index: usize) -> Result<Record, DataError> {
        Ok(Record {
            id: self.id(index)?,
            category: self.text("category")?,
            instruction: self.field(&INSTRUCTION)?,
            context: self.field(&CONTEXT)?,
            response: self.field(&RESPONSE)?,
            line: self.line,
        })
    }

    fn id(&self, index: usize) -> Result<String, DataError> {
        match self.map.get("id") {
            None | Some(Value::Null) => Ok(index.to_string()),
            Some(Value::String(id)) if is_blank(id) => Ok(index.to_string()),
            Some(Value::String(id)) => Ok(id.trim().to_owned()),
            Some(Value::Number(id)) if !id.is_f64() => Ok(id.to_string()),
            Some(other) => Err(self.wrong_type("id", other, "a string or an integer")),
        }
    }

    /// A text; an absent key and `null` are blank.
    fn text(&mut self, key: &str) -> Result<String, DataError> {
        match self.map.get_mut(key) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(std::mem::take(text)),
            Some(other) => {
                let found = kind(other);
                Err(self.wrong_kind(key, found, "a string or null"))
            }
        }
    }

    fn field(&mut self, columns: &FieldColumns) -> Result<Field, DataError> {
        let [plain, original] = columns.original;
        let (plain, original) = (self.text(plain)?, self.text(original)?);
        let curated = match self.map.remove(columns.curated) {
            None => Vec::new(),
            Some(value) => curated::from_value(value).map_err(|problem| DataError::Curated {
                path: self.path.to_path_buf(),
                line: self.line,
                column: columns.curated.to_owned(),
                problem,
            })?,
        };
        Ok(Field {
            original: if is_blank(&plain) { original } else { plain },
            curated,
        })
    }

    fn wrong_type(&self, field: &str, found: &Value, expected: &'static str) -> DataError {
        self.wrong_kind(field, kind(found), expected)
    }

    fn wrong_kind(&self, field: &str, found: &'static str, expected: &'static str) -> DataError {
        DataError::WrongType {
            path: self.path.to_path_buf(),
            line: self.line,
            field: field.to_owned(),
            found,
            expected,
        }
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
