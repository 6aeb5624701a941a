//! `POST /v1/completions`: the request.

use serde_json::Value;

use crate::api_error::ApiError;
use crate::ask::{Ask, Prompts};
use crate::fields::{Fields, wrong};
use crate::options::{self, Options};

/// Most alternatives told at each place, as in the OpenAI API.
const MOST_LOGPROBS: usize = 5;
/// Longest answer where the request does not say, as in the OpenAI API.
const MAX_TOKENS: usize = 16;

const EXPECTED: &str =
    "a string, a list of strings, a list of token ids, or a list of lists of token ids";

/// Reads the body of a request.
pub(crate) fn parse(body: &[u8], unseeded: u64) -> Result<Ask, ApiError> {
    let mut fields = Fields::parse(body)?;
    let mut options = Options::take(&mut fields, unseeded)?;
    options.max_tokens = fields.count("max_tokens")?;
    options.unlimited = MAX_TOKENS;
    options.logprobs = fields.count_in("logprobs", 0..=MOST_LOGPROBS)?;
    let prompts = prompts(fields.required("prompt")?)?;
    options::refuse_the_rest(fields)?;
    Ok(Ask { options, prompts })
}

fn prompts(value: Value) -> Result<Prompts, ApiError> {
    let list = match value {
        Value::String(text) => return Ok(Prompts::Text(vec![text])),
        Value::Array(list) => list,
        other => return Err(wrong("prompt", &other, EXPECTED)),
    };
    match list.first() {
        None => Err(ApiError::bad_field(
            "prompt",
            format!("`prompt` is an empty list, expected {EXPECTED}"),
        )),
        Some(Value::String(_)) => list
            .into_iter()
            .map(|prompt| match prompt {
                Value::String(text) => Ok(text),
                other => Err(wrong("prompt", &other, EXPECTED)),
            })
            .collect::<Result<_, _>>()
            .map(Prompts::Text),
        Some(Value::Array(_)) => list
            .iter()
            .map(|prompt| match prompt {
                Value::Array(list) => ids(list),
                other => Err(wrong("prompt", other, EXPECTED)),
            })
            .collect::<Result<_, _>>()
            .map(Prompts::Ids),
        Some(_) => Ok(Prompts::Ids(vec![ids(&list)?])),
    }
}

fn ids(list: &[Value]) -> Result<Vec<u32>, ApiError> {
    let id = |value: &Value| {
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| wrong("prompt", value, EXPECTED))
    };
    list.iter().map(id).collect()
}
