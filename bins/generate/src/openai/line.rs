//! Lines of a batch file.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value};
use stage::StageError;

use super::reply::Refusal;
use crate::answers::Asked;

/// The one thing that can be asked.
const URL: &str = "/v1/chat/completions";

/// One line.
#[derive(Debug)]
pub(crate) struct Line {
    /// What its sender calls it, where it could be read.
    pub(crate) custom_id: Option<String>,
    /// `batch_req_` and 32 hexadecimal digits of the SHA-256 of all it holds.
    pub(crate) key: String,
    /// What it asks, or why it cannot be answered.
    pub(crate) body: Result<Map<String, Value>, Refusal>,
}

impl Line {
    /// As the output file knows it.
    pub(crate) fn asked(&self) -> Asked<'_> {
        Asked {
            key: &self.key,
            name: self.custom_id.as_deref().unwrap_or_default(),
        }
    }

    /// The digits of its key.
    pub(crate) fn digits(&self) -> &str {
        self.key.rsplit('_').next().unwrap_or_default()
    }

    /// The name of its draws.
    pub(crate) fn stream(&self) -> u64 {
        let digits = self.digits().get(..16).unwrap_or_default();
        u64::from_str_radix(digits, 16).unwrap_or(0)
    }
}

/// Reads a batch file; blank lines are left out.
///
/// # Errors
/// Exit code 3 if it cannot be read or is empty. Whatever is wrong with one line becomes its answer.
pub(crate) fn read(path: &Path) -> Result<Vec<Line>, StageError> {
    let bytes = std::fs::read(path)
        .map_err(|e| StageError::bad_data(format!("cannot read {}: {e}", path.display())))?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let mut seen = HashMap::new();
    let lines: Vec<Line> = bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.trim_ascii().is_empty())
        .map(|line| parse(line.trim_ascii(), &mut seen))
        .collect();
    if lines.is_empty() {
        let text = format!("{} has no requests", path.display());
        return Err(StageError::bad_data(text));
    }
    Ok(lines)
}

fn parse(bytes: &[u8], seen: &mut HashMap<Option<String>, usize>) -> Line {
    let parsed = serde_json::from_slice::<Map<String, Value>>(bytes);
    let custom_id = parsed.as_ref().ok().and_then(|line| {
        let id = line.get("custom_id")?.as_str()?;
        (!id.is_empty()).then(|| id.to_owned())
    });
    let before = seen.entry(custom_id.clone()).or_default();
    let key = key(bytes, parsed.as_ref().ok(), *before);
    let body = match parsed {
        Err(e) => Err(Refusal::line(format!("the line is no JSON object: {e}"))),
        Ok(_) if custom_id.is_none() => Err(Refusal::line("custom_id is missing, or no text")),
        Ok(_) if *before > 0 => Err(Refusal::line("custom_id stands on an earlier line too")),
        Ok(line) => body(line),
    };
    *before += 1;
    Line {
        custom_id,
        key,
        body,
    }
}

/// A name for what the line holds, white space between its fields aside. Lines of one `custom_id` are told apart by how
/// many stand `before`.
fn key(bytes: &[u8], parsed: Option<&Map<String, Value>>, before: usize) -> String {
    let canonical = parsed.and_then(|line| serde_json::to_vec(line).ok());
    let mut text = canonical.unwrap_or_else(|| bytes.to_vec());
    text.extend(before.to_le_bytes());
    let digest = stage::sha256_bytes(&text);
    format!("batch_req_{}", &digest[..32])
}

fn body(mut line: Map<String, Value>) -> Result<Map<String, Value>, Refusal> {
    for (field, expected) in [("method", "POST"), ("url", URL)] {
        if line.get(field).and_then(Value::as_str) != Some(expected) {
            let found = line.get(field).unwrap_or(&Value::Null);
            let text = format!("{field} is {found}, expected {expected:?}");
            return Err(Refusal {
                param: Some(field),
                ..Refusal::line(text)
            });
        }
    }
    match line.remove("body") {
        Some(Value::Object(body)) => Ok(body),
        _ => Err(Refusal {
            param: Some("body"),
            ..Refusal::line("body is missing, or no object")
        }),
    }
}
