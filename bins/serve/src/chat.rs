//! `POST /v1/chat/completions`: the request.

use chat_prompt::{Message, Role};
use serde_json::{Map, Value};

use crate::api_error::ApiError;
use crate::ask::{Ask, Prompts};
use crate::fields::{Fields, wrong};
use crate::options::{self, Options};

/// Most alternatives told at each place, as in the OpenAI API.
const MOST_LOGPROBS: usize = 20;

/// Reads the body of a request.
pub(crate) fn parse(body: &[u8], unseeded: u64) -> Result<Ask, ApiError> {
    let mut fields = Fields::parse(body)?;
    let mut options = Options::take(&mut fields, unseeded)?;
    // The older name of the two.
    let old = fields.count("max_tokens")?;
    options.max_tokens = fields.count("max_completion_tokens")?.or(old);
    options.logprobs = logprobs(&mut fields)?;
    let messages = messages(fields.required("messages")?)?;
    options::refuse_the_rest(fields)?;
    Ok(Ask {
        options,
        prompts: Prompts::Chat(messages),
    })
}

fn logprobs(fields: &mut Fields) -> Result<Option<usize>, ApiError> {
    let wanted = fields.boolean("logprobs")?.unwrap_or(false);
    let top = fields.count_in("top_logprobs", 0..=MOST_LOGPROBS)?;
    if top.is_some_and(|top| top > 0) && !wanted {
        let message = "`top_logprobs` goes with `logprobs: true` only";
        return Err(ApiError::bad_field("top_logprobs", message));
    }
    Ok(wanted.then(|| top.unwrap_or(0)))
}

fn messages(value: Value) -> Result<Vec<Message>, ApiError> {
    let Value::Array(list) = value else {
        return Err(wrong("messages", &value, "a list of messages"));
    };
    if list.is_empty() {
        let message = "`messages` is empty, expected at least one message";
        return Err(ApiError::bad_field("messages", message));
    }
    list.into_iter()
        .enumerate()
        .map(|(at, value)| message(at, value))
        .collect()
}

fn message(at: usize, value: Value) -> Result<Message, ApiError> {
    let name = format!("messages[{at}]");
    let Value::Object(mut fields) = value else {
        return Err(wrong(&name, &value, "an object with `role` and `content`"));
    };
    for tool in ["tool_calls", "function_call", "audio"] {
        if fields.get(tool).is_some_and(|value| !value.is_null()) {
            let message = format!("`{name}.{tool}`: this server calls no tools and hears nothing");
            return Err(ApiError::unsupported(&format!("{name}.{tool}"), message));
        }
    }
    let role = role(&name, &fields)?;
    let content = match fields.remove("content") {
        Some(Value::String(text)) => text,
        Some(Value::Array(parts)) => parts
            .iter()
            .enumerate()
            .map(|(part, value)| text(&format!("{name}.content[{part}]"), value))
            .collect::<Result<String, _>>()?,
        other => {
            let found = other.unwrap_or(Value::Null);
            let name = format!("{name}.content");
            return Err(wrong(&name, &found, "a string or a list of text parts"));
        }
    };
    Ok(Message::new(role, content))
}

fn role(name: &str, fields: &Map<String, Value>) -> Result<Role, ApiError> {
    let name = format!("{name}.role");
    match fields.get("role").and_then(Value::as_str) {
        // "developer" is the newer name of the same thing.
        Some("system" | "developer") => Ok(Role::SYSTEM),
        Some("user") => Ok(Role::USER),
        Some("assistant") => Ok(Role::ASSISTANT),
        found => {
            let found = found.map_or("missing".to_owned(), |role| format!("`{role}`"));
            Err(ApiError::bad_field(
                &name,
                format!("`{name}` is {found}, expected system, developer, user or assistant"),
            ))
        }
    }
}

/// The text of a part of a message.
fn text(name: &str, part: &Value) -> Result<String, ApiError> {
    let kind = part.get("type").and_then(Value::as_str);
    if let (Some("text"), Some(text)) = (kind, part.get("text").and_then(Value::as_str)) {
        return Ok(text.to_owned());
    }
    let message = format!("`{name}` is no text part; this server reads text alone");
    Err(ApiError::unsupported(name, message))
}
