//! From a raw object to a record.

use std::path::Path;

use serde_json::{Map, Value};

use super::json_file::kind;
use super::raw::Raw;
use super::shape::{Place, Shape};
use super::{curated, messages};
use crate::error::DataError;
use crate::row::{Field, Record, Turn, is_blank};

/// One raw object, where it stands, and where its fields are.
pub(super) struct Reading<'a> {
    path: &'a Path,
    shape: &'a Shape,
    line: u64,
    values: Map<String, Value>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(path: &'a Path, shape: &'a Shape, raw: Raw) -> Self {
        Self {
            path,
            shape,
            line: raw.line,
            values: raw.values,
        }
    }

    pub(super) fn record(mut self, index: usize) -> Result<Record, DataError> {
        let shape = self.shape;
        let [instruction, context, response] = &shape.fields;
        Ok(Record {
            id: self.id(index)?,
            category: self.text(&shape.category)?,
            messages: self.messages()?,
            instruction: self.field(instruction)?,
            context: self.field(context)?,
            response: self.field(response)?,
            leak: self.leak(),
            line: self.line,
        })
    }

    fn id(&self, index: usize) -> Result<String, DataError> {
        match self.values.get(&self.shape.id) {
            None | Some(Value::Null) => Ok(index.to_string()),
            Some(Value::String(id)) if is_blank(id) => Ok(index.to_string()),
            Some(Value::String(id)) => Ok(id.trim().to_owned()),
            Some(Value::Number(id)) if !id.is_f64() => Ok(id.to_string()),
            Some(other) => Err(self.wrong(&self.shape.id, other, "a string or an integer")),
        }
    }

    /// A text; an absent key and `null` are blank.
    fn text(&mut self, key: &str) -> Result<String, DataError> {
        match self.values.remove(key) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(self.wrong(key, &other, "a string or null")),
        }
    }

    fn field(&mut self, place: &Place) -> Result<Field, DataError> {
        let [first, second] = place
            .plain
            .clone()
            .map(|column| column.map_or(Ok(String::new()), |column| self.text(&column)));
        let (first, second) = (first?, second?);
        let curated = match place
            .curated
            .as_deref()
            .and_then(|key| self.values.remove(key))
        {
            None => Vec::new(),
            Some(value) => curated::from_value(value).map_err(|problem| DataError::Curated {
                path: self.path.to_path_buf(),
                line: self.line,
                column: place.curated.clone().unwrap_or_default(),
                problem,
            })?,
        };
        Ok(Field {
            original: if is_blank(&first) { second } else { first },
            curated,
        })
    }

    fn messages(&mut self) -> Result<Vec<Turn>, DataError> {
        let Some(key) = &self.shape.messages else {
            return Ok(Vec::new());
        };
        let value = self.values.remove(key).unwrap_or_default();
        messages::from_value(value).map_err(|problem| DataError::Messages {
            path: self.path.to_path_buf(),
            line: self.line,
            column: key.clone(),
            problem,
        })
    }

    /// The flag that a leakage audit left; a column of this name with other values is not ours.
    fn leak(&mut self) -> Option<crate::row::LeakKind> {
        let value = self.values.remove("leak")?;
        serde_json::from_value(value).ok()
    }

    fn wrong(&self, field: &str, found: &Value, expected: &'static str) -> DataError {
        DataError::WrongType {
            path: self.path.to_path_buf(),
            line: self.line,
            field: field.to_owned(),
            found: kind(found),
            expected,
        }
    }
}
