//! The fields of a request, taken one by one; what is left over at the end was not understood.

use serde_json::{Map, Value};

use crate::api_error::ApiError;

/// A JSON object's fields. A field that is null counts as absent.
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    /// Parses a request's body.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(other) => Err(ApiError::bad_request(format!(
                "the request's body is {}, expected a JSON object",
                kind(&other)
            ))),
            Err(e) => Err(ApiError::bad_request(format!(
                "the request's body is not valid JSON: {e}"
            ))),
        }
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.shift_remove(name).filter(|value| !value.is_null())
    }

    pub(crate) fn required(&mut self, name: &str) -> Result<Value, ApiError> {
        self.take(name)
            .ok_or_else(|| ApiError::bad_field(name, format!("`{name}` is missing")))
    }

    pub(crate) fn boolean(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        self.typed(name, "true or false", Value::as_bool)
    }

    pub(crate) fn number(&mut self, name: &str) -> Result<Option<f64>, ApiError> {
        self.typed(name, "a number", Value::as_f64)
    }

    pub(crate) fn integer(&mut self, name: &str) -> Result<Option<i64>, ApiError> {
        self.typed(name, "a whole number", |value| {
            let unsigned = || value.as_u64().map(u64::cast_signed);
            value.as_i64().or_else(unsigned)
        })
    }

    pub(crate) fn count(&mut self, name: &str) -> Result<Option<usize>, ApiError> {
        self.typed(name, "a whole number of at least 0", |value| {
            value.as_u64().and_then(|n| usize::try_from(n).ok())
        })
    }

    /// A count that must lie in `range`.
    pub(crate) fn count_in(
        &mut self,
        name: &str,
        range: std::ops::RangeInclusive<usize>,
    ) -> Result<Option<usize>, ApiError> {
        let found = self.count(name)?;
        if let Some(n) = found.filter(|n| !range.contains(n)) {
            let expected = format!("{} to {}", range.start(), range.end());
            return Err(ApiError::bad_field(
                name,
                format!("`{name}` is {n}, expected {expected}"),
            ));
        }
        Ok(found)
    }

    fn typed<T>(
        &mut self,
        name: &str,
        expected: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        read(&value)
            .map(Some)
            .ok_or_else(|| wrong(name, &value, expected))
    }

    /// The first field that was not taken.
    pub(crate) fn left(&self) -> Option<&str> {
        self.0.keys().next().map(String::as_str)
    }
}

/// The error for a value of the wrong kind.
pub(crate) fn wrong(name: &str, found: &Value, expected: &str) -> ApiError {
    let found = match found {
        Value::Bool(_) | Value::Number(_) => found.to_string(),
        other => kind(other).to_owned(),
    };
    ApiError::bad_field(name, format!("`{name}` is {found}, expected {expected}"))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
