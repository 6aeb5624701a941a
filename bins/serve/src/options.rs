//! What chat and plain completions have in common: which model, how tokens are chosen, when to stop, what to tell.

use serde_json::Value;
use smollm_model::Sampling;

use crate::api_error::ApiError;
use crate::fields::{Fields, wrong};

/// Most stop strings of a request. (The OpenAI API takes 4.)
const MOST_STOPS: usize = 16;

/// Options of a request, checked.
#[derive(Debug, PartialEq)]
pub(crate) struct Options {
    /// The model's id.
    pub(crate) model: String,
    /// Longest answer asked for.
    pub(crate) max_tokens: Option<usize>,
    /// Longest answer where none is asked for.
    pub(crate) unlimited: usize,
    pub(crate) sampling: Sampling,
    pub(crate) stop: Vec<String>,
    /// Answers to each prompt.
    pub(crate) n: usize,
    pub(crate) stream: bool,
    /// Whether a stream ends with token counts.
    pub(crate) include_usage: bool,
    /// Whether log-probabilities are told, and of how many of the most likely tokens at each place.
    pub(crate) logprobs: Option<usize>,
}

impl Options {
    /// Takes the options out of a request; `unseeded` seeds the draws where the request does not.
    pub(crate) fn take(fields: &mut Fields, unseeded: u64) -> Result<Self, ApiError> {
        let model = match fields.required("model")? {
            Value::String(model) => model,
            other => return Err(wrong("model", &other, "a model's id")),
        };
        let stream = fields.boolean("stream")?.unwrap_or(false);
        Ok(Self {
            model,
            max_tokens: None,
            unlimited: usize::MAX,
            sampling: sampling(fields, unseeded)?,
            stop: stop(fields)?,
            n: fields.count_in("n", 1..=128)?.unwrap_or(1),
            stream,
            include_usage: include_usage(fields, stream)?,
            logprobs: None,
        })
    }
}

fn sampling(fields: &mut Fields, unseeded: u64) -> Result<Sampling, ApiError> {
    let sampling = Sampling {
        temperature: fields.number("temperature")?.unwrap_or(1.0),
        top_k: fields.count("top_k")?.filter(|k| *k > 0),
        top_p: fields.number("top_p")?,
        // vLLM and llama.cpp take 0 for "off", and clients send it.
        min_p: fields.number("min_p")?.filter(|p| *p != 0.0),
        repetition_penalty: fields.number("repetition_penalty")?.unwrap_or(1.0),
        seed: fields.integer("seed")?.map_or(unseeded, i64::cast_unsigned),
        stream: 0,
    };
    sampling
        .check()
        .map_err(|e| ApiError::bad_request(e.to_string()))?;
    Ok(sampling)
}

fn stop(fields: &mut Fields) -> Result<Vec<String>, ApiError> {
    let expected = "a string or a list of strings";
    let stops = match fields.take("stop") {
        None => Vec::new(),
        Some(Value::String(stop)) => vec![stop],
        Some(Value::Array(list)) => list
            .into_iter()
            .map(|stop| match stop {
                Value::String(stop) => Ok(stop),
                other => Err(wrong("stop", &other, expected)),
            })
            .collect::<Result<_, _>>()?,
        Some(other) => return Err(wrong("stop", &other, expected)),
    };
    if stops.len() > MOST_STOPS {
        let message = format!(
            "`stop` has {} strings, expected at most {MOST_STOPS}",
            stops.len()
        );
        return Err(ApiError::bad_field("stop", message));
    }
    if stops.iter().any(String::is_empty) {
        return Err(ApiError::bad_field("stop", "`stop` holds an empty string"));
    }
    Ok(stops)
}

fn include_usage(fields: &mut Fields, stream: bool) -> Result<bool, ApiError> {
    let options = match fields.take("stream_options") {
        None => return Ok(false),
        Some(Value::Object(options)) => options,
        Some(other) => return Err(wrong("stream_options", &other, "an object")),
    };
    if !stream {
        let message = "`stream_options` goes with `stream: true` only";
        return Err(ApiError::bad_field("stream_options", message));
    }
    let name = "stream_options.include_usage";
    match options.get("include_usage") {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(wanted)) => Ok(*wanted),
        Some(other) => Err(wrong(name, other, "true or false")),
    }
}

/// Fields that change no answer here, and are not looked at.
const WITHOUT_EFFECT: [&str; 9] = [
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "parallel_tool_calls",
    "tool_choice",
];

/// Fields for what this server does not do, with the reason; [`is_off`] values of them are fine.
const UNSUPPORTED: [(&str, &str); 16] = [
    ("tools", "this server calls no tools"),
    ("functions", "this server calls no functions"),
    ("function_call", "this server calls no functions"),
    (
        "response_format",
        "answers are free text; JSON modes and schemas are not supported",
    ),
    (
        "frequency_penalty",
        "not supported; `repetition_penalty` is",
    ),
    ("presence_penalty", "not supported; `repetition_penalty` is"),
    ("logit_bias", "not supported"),
    ("modalities", "this server reads and writes text alone"),
    ("audio", "this server reads and writes text alone"),
    ("prediction", "not supported"),
    (
        "reasoning_effort",
        "the model does not reason apart from its answer",
    ),
    ("verbosity", "not supported; say it in the prompt"),
    ("web_search_options", "this server searches nothing"),
    (
        "suffix",
        "not supported; the model continues a prompt at its end only",
    ),
    ("echo", "not supported"),
    (
        "best_of",
        "not supported; ask for `n` answers with `logprobs` and choose",
    ),
];

/// Refuses what is left of a request after everything known was taken.
pub(crate) fn refuse_the_rest(mut fields: Fields) -> Result<(), ApiError> {
    for name in WITHOUT_EFFECT {
        fields.take(name);
    }
    for (name, why) in UNSUPPORTED {
        if fields.take(name).is_some_and(|value| !is_off(name, &value)) {
            return Err(ApiError::unsupported(name, format!("`{name}`: {why}")));
        }
    }
    // Nulls were left where they are.
    while let Some(name) = fields.left().map(str::to_owned) {
        if fields.take(&name).is_some() {
            let message = format!("this server does not know the field `{name}`");
            return Err(ApiError::unsupported(&name, message));
        }
    }
    Ok(())
}

/// Whether the value of an unsupported field asks for nothing.
fn is_off(name: &str, value: &Value) -> bool {
    match value {
        Value::Bool(on) => !on,
        Value::Number(n) => n.as_f64() == Some(if name == "best_of" { 1.0 } else { 0.0 }),
        Value::String(text) => text.is_empty() || text == "none",
        Value::Array(list) => match name {
            "modalities" => list.iter().all(|of| of == "text"),
            _ => list.is_empty(),
        },
        Value::Object(fields) => match name {
            "response_format" => fields.get("type").is_some_and(|kind| kind == "text"),
            _ => fields.is_empty(),
        },
        Value::Null => true,
    }
}
