//! Reading predictions: one JSON object a line.

use std::path::Path;

use rayon::prelude::*;
use serde::Deserialize;
use serde_json::Value;
use stage::StageError;

use crate::PredictionError;
use crate::blocks::{BLOCK, for_each_block};
use crate::references::References;

/// A question, its gold answer, and what a model answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prediction {
    /// The row's id; a number in the file becomes its decimal form.
    pub id: Option<String>,
    /// What tells this row from others when it was generated.
    pub key: Option<String>,
    /// The question; empty when the file has none.
    pub instruction: String,
    /// The text that the question is about; empty when there is none.
    pub context: String,
    /// The right answer; the first of them, where the file gives a list.
    pub gold: String,
    /// The other right answers of a list.
    pub more_gold: Vec<String>,
    /// The model's answer.
    pub prediction: String,
    /// Why generation ended: `stop` or `length`.
    pub finish_reason: Option<String>,
    /// Tokens generated.
    pub new_tokens: Option<usize>,
    /// The kind of question.
    pub category: Option<String>,
    /// How training had seen the row, where a leakage audit found that it had.
    pub leak: Option<String>,
    /// The prompt did not fit and was shortened.
    pub truncated: bool,
}

/// A line as it stands; everything may be missing or null.
#[derive(Deserialize)]
struct Raw {
    id: Option<Value>,
    key: Option<String>,
    instruction: Option<String>,
    context: Option<String>,
    gold: Option<References>,
    prediction: Option<String>,
    finish_reason: Option<String>,
    new_tokens: Option<usize>,
    category: Option<String>,
    leak: Option<String>,
    truncated: Option<Value>,
}

/// The fields that hold the gold answer and the prediction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    /// A string, or a list of strings that are all right.
    pub gold: String,
    /// A string.
    pub prediction: String,
}

impl Default for Fields {
    fn default() -> Self {
        Self {
            gold: "gold".to_owned(),
            prediction: "prediction".to_owned(),
        }
    }
}

/// Reads the predictions in a file, in order. Blank lines are skipped, repeated rows are kept.
///
/// # Errors
/// Bad data (exit 3): see [`PredictionError`].
pub fn load_predictions(path: &Path) -> Result<Vec<Prediction>, StageError> {
    load_fields(path, &Fields::default())
}

/// [`load_predictions`] for a file that names its fields otherwise.
///
/// # Errors
/// Bad data (exit 3): see [`PredictionError`].
pub fn load_fields(path: &Path, fields: &Fields) -> Result<Vec<Prediction>, StageError> {
    let mut all = Vec::new();
    for_each_block(path, fields, BLOCK, &mut |block| {
        all.extend(block);
        Ok(())
    })?;
    Ok(all)
}

/// Reads the predictions in `bytes`; `path` is for messages only.
///
/// # Errors
/// [`PredictionError`], for the first line that is wrong.
pub fn parse_predictions(bytes: &[u8], path: &Path) -> Result<Vec<Prediction>, PredictionError> {
    let rows = parse_block(bytes, 1, path, &Fields::default())?;
    if rows.is_empty() {
        return Err(PredictionError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(rows)
}

/// Reads whole lines, of which the first is line `first` of the file. None may have a row.
pub(crate) fn parse_block(
    bytes: &[u8],
    first: usize,
    path: &Path,
    fields: &Fields,
) -> Result<Vec<Prediction>, PredictionError> {
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let before = &bytes[..e.valid_up_to()];
        let line = first + before.split(|&b| b == b'\n').count() - 1;
        PredictionError::Utf8 {
            path: path.to_owned(),
            line,
        }
    })?;
    let text = match first {
        1 => text.strip_prefix('\u{feff}').unwrap_or(text),
        _ => text,
    };
    let lines: Vec<(usize, &str)> = text
        .split('\n')
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .collect();
    // All lines are parsed before any error is picked, so it is always the first one.
    let parsed: Vec<_> = lines
        .par_iter()
        .with_min_len(64)
        .map(|&(at, line)| (at, parse_line(line, fields)))
        .collect();
    parsed
        .into_iter()
        .map(|(at, row)| {
            row.map_err(|what| PredictionError::Line {
                path: path.to_owned(),
                line: first + at,
                what,
            })
        })
        .collect()
}

/// A line whose fields may have other names: these take the place of `gold` and `prediction`.
fn parse_line(line: &str, fields: &Fields) -> Result<Prediction, String> {
    if *fields == Fields::default() {
        return parse(line);
    }
    let Ok(Value::Object(mut object)) = serde_json::from_str(line) else {
        return parse(line); // which says what is wrong
    };
    let found: Vec<String> = object.keys().cloned().collect();
    let [gold, prediction] = [&fields.gold, &fields.prediction].map(|name| object.remove(name));
    for (name, value) in [
        ("gold", gold, &fields.gold),
        ("prediction", prediction, &fields.prediction),
    ]
    .map(|(name, value, field)| (name, value.ok_or(field)))
    {
        let value = value.map_err(|field| format!("no `{field}` (found: {})", found.join(", ")))?;
        object.insert(name.to_owned(), value);
    }
    parse(&Value::Object(object).to_string())
}

fn parse(line: &str) -> Result<Prediction, String> {
    let raw: Raw = serde_json::from_str(line).map_err(|e| explain(line, &e))?;
    let (Some(References(gold)), Some(prediction)) = (raw.gold, raw.prediction) else {
        return Err(missing(line));
    };
    let mut gold = gold.into_iter();
    let Some(first) = gold.next() else {
        return Err("`gold` is an empty list, expected at least one answer".to_owned());
    };
    Ok(Prediction {
        id: raw.id.map(id).transpose()?,
        key: raw.key,
        instruction: raw.instruction.unwrap_or_default(),
        context: raw.context.unwrap_or_default(),
        gold: first,
        more_gold: gold.collect(),
        prediction,
        finish_reason: raw.finish_reason,
        new_tokens: raw.new_tokens,
        category: raw.category,
        leak: raw.leak.filter(|kind| !kind.is_empty()),
        truncated: raw.truncated == Some(Value::Bool(true)),
    })
}

fn id(value: Value) -> Result<String, String> {
    match value {
        Value::String(id) => Ok(id),
        Value::Number(id) => Ok(id.to_string()),
        other => Err(format!("`id` is {}, expected a string", kind(&other))),
    }
}

/// Says which of the needed fields is not there, and what is.
fn missing(line: &str) -> String {
    let Ok(Value::Object(fields)) = serde_json::from_str(line) else {
        return "no `gold` or no `prediction`".to_owned();
    };
    for name in ["gold", "prediction"] {
        match fields.get(name) {
            None => {
                let found: Vec<_> = fields.keys().map(String::as_str).collect();
                return format!("no `{name}` (found: {})", found.join(", "));
            }
            Some(Value::Null) => return format!("`{name}` is null, expected a string"),
            Some(_) => {}
        }
    }
    String::new()
}

/// Says what stands where something else was expected.
fn explain(line: &str, error: &serde_json::Error) -> String {
    match serde_json::from_str::<Value>(line) {
        Ok(Value::Object(fields)) => {
            let wrong = fields.iter().find(|(name, value)| match name.as_str() {
                "new_tokens" => value.as_u64().is_none() && !value.is_null(),
                "gold" => !is_references(value),
                "key" | "instruction" | "context" | "prediction" | "finish_reason" | "category"
                | "leak" => !value.is_string() && !value.is_null(),
                _ => false,
            });
            match wrong {
                Some((name, value)) if name == "new_tokens" => {
                    format!("`{name}` is {}, expected a count", kind(value))
                }
                Some((name, value)) if name == "gold" => {
                    format!(
                        "`{name}` is {}, expected a string or a list of strings",
                        kind(value)
                    )
                }
                Some((name, value)) => format!("`{name}` is {}, expected a string", kind(value)),
                None => bare(error),
            }
        }
        Ok(other) => format!("found {}, expected an object", kind(&other)),
        Err(e) if e.is_eof() => format!("the line is cut off at column {}", e.column()),
        Err(e) => format!("no valid JSON at column {}: {}", e.column(), bare(&e)),
    }
}

/// The message without serde's own position, which counts lines from this one.
fn bare(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}

fn is_references(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().all(Value::is_string),
        other => other.is_string() || other.is_null(),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
