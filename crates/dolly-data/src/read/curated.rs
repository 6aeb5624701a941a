//! Curated `new-*` values, whatever shape an export gave them.
//!
//! The hub's Parquet has a struct of lists; a JSON export has that, or a list of structs; a CSV
//! export has the `repr` that Python and NumPy make of it. All become [`Submission`]s.

use serde_json::{Map, Value};

use super::json_file::kind;
use super::literal;
use crate::row::{Submission, is_blank};

/// The submissions in a CSV cell: blank, JSON, a Python/NumPy repr, or plain text.
pub(super) fn from_text(cell: &str) -> Result<Vec<Submission>, String> {
    if is_blank(cell) {
        return Ok(Vec::new());
    }
    if !is_structured(cell) {
        return Ok(vec![plain(cell.to_owned())]);
    }
    // A repr is JSON only by accident, and then both readings agree.
    match serde_json::from_str(cell) {
        Ok(value) => from_value(value),
        Err(_) => from_value(literal::parse(cell).map_err(|e| e.to_string())?),
    }
}

/// The submissions in a JSON value.
pub(super) fn from_value(value: Value) -> Result<Vec<Submission>, String> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::String(text) => from_text(&text),
        Value::Object(object) => from_columns(object),
        Value::Array(items) => items.into_iter().map(from_item).collect(),
        other => Err(format!(
            "found {}, expected lists of user_id, value and status",
            kind(&other)
        )),
    }
}

/// `{"user_id": […], "value": […], "status": […]}`.
fn from_columns(mut object: Map<String, Value>) -> Result<Vec<Submission>, String> {
    let Some(values) = object.remove("value") else {
        let keys: Vec<&str> = object.keys().map(String::as_str).collect();
        return Err(format!(
            "found keys `{}`, expected `value` among them",
            keys.join("`, `")
        ));
    };
    let values = texts(values)?;
    let mut users = texts(object.remove("user_id").unwrap_or_default())?.into_iter();
    let mut states = texts(object.remove("status").unwrap_or_default())?.into_iter();
    let one = |value| Submission {
        value,
        user_id: users.next().flatten(),
        status: states.next().flatten(),
    };
    Ok(values.into_iter().map(one).collect())
}

/// `{"user_id": …, "value": …, "status": …}`, or a text by itself.
fn from_item(item: Value) -> Result<Submission, String> {
    match item {
        Value::Object(mut object) => {
            let mut take = |key| text(object.remove(key).unwrap_or_default());
            Ok(Submission {
                value: take("value")?,
                user_id: take("user_id")?,
                status: take("status")?,
            })
        }
        other => Ok(Submission {
            value: text(other)?,
            ..Submission::default()
        }),
    }
}

fn texts(value: Value) -> Result<Vec<Option<String>>, String> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => items.into_iter().map(text).collect(),
        single => Ok(vec![text(single)?]),
    }
}

fn text(value: Value) -> Result<Option<String>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        Value::Number(number) => Ok(Some(number.to_string())),
        other => Err(format!("found {}, expected a text or null", kind(&other))),
    }
}

fn plain(value: String) -> Submission {
    Submission {
        value: Some(value),
        ..Submission::default()
    }
}

/// Text that begins as a dict or a list does; prose that merely begins with a bracket is prose.
fn is_structured(cell: &str) -> bool {
    let cell = cell.trim_start();
    ["{'", "{\"", "[{", "['", "[\"", "array("]
        .iter()
        .any(|start| cell.starts_with(start))
}
