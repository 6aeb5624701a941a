//! What a request asks for.

use chat_prompt::{Message, Role};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use smollm_model::Sampling;

use super::reply::Refusal;
use crate::args::Args;

/// Most answers to one request, as OpenAI has it.
const MOST_ANSWERS: usize = 128;
/// Most alternatives told for a token, as OpenAI has it.
const MOST_ALTERNATIVES: usize = 20;

/// A request, checked.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) model: Option<String>,
    pub(crate) messages: Vec<Message>,
    pub(crate) max_tokens: usize,
    pub(crate) sampling: Sampling,
    pub(crate) stop: Vec<String>,
    pub(crate) n: usize,
    pub(crate) logprobs: bool,
    pub(crate) top_logprobs: usize,
}

/// The fields of a request. One that is not here is refused: what it asks for would not be done.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    model: Option<String>,
    messages: Vec<Turn>,
    max_tokens: Option<usize>,
    max_completion_tokens: Option<usize>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<usize>,
    min_p: Option<f64>,
    repetition_penalty: Option<f64>,
    seed: Option<i64>,
    stop: Option<Value>,
    n: Option<usize>,
    logprobs: Option<bool>,
    top_logprobs: Option<usize>,
    /// Fields that are understood where they ask for nothing.
    stream: Option<bool>,
    presence_penalty: Option<f64>,
    frequency_penalty: Option<f64>,
    logit_bias: Option<Map<String, Value>>,
    response_format: Option<Value>,
    tools: Option<Vec<Value>>,
    /// Fields that change no answer.
    #[serde(rename = "user")]
    _user: Option<IgnoredAny>,
    #[serde(rename = "metadata")]
    _metadata: Option<IgnoredAny>,
    #[serde(rename = "store")]
    _store: Option<IgnoredAny>,
    #[serde(rename = "service_tier")]
    _service_tier: Option<IgnoredAny>,
    #[serde(rename = "stream_options")]
    _stream_options: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct Turn {
    role: String,
    #[serde(default)]
    content: Value,
}

impl Ask {
    /// Reads a request's body; what it leaves open is as the command line says. `stream` names its draws.
    pub(crate) fn of(body: &Map<String, Value>, args: &Args, stream: u64) -> Result<Self, Refusal> {
        let body: Body = serde_json::from_value(Value::Object(body.clone()))
            .map_err(|e| Refusal::line(format!("body: {e}")))?;
        body.refuse_what_is_not_done()?;
        let messages = body.messages.iter().map(Turn::message);
        let messages: Vec<Message> = messages.collect::<Result<_, _>>()?;
        if messages.is_empty() {
            return Err(Refusal::of("messages", "messages is empty"));
        }
        let n = between("n", body.n, 1, (1, MOST_ANSWERS))?;
        let top_logprobs = between("top_logprobs", body.top_logprobs, 0, (0, MOST_ALTERNATIVES))?;
        let logprobs = body.logprobs.unwrap_or(false);
        if top_logprobs > 0 && !logprobs {
            return Err(Refusal::of("top_logprobs", "top_logprobs needs logprobs"));
        }
        let max_tokens = body.max_completion_tokens.or(body.max_tokens);
        Ok(Self {
            max_tokens: between(
                "max_tokens",
                max_tokens,
                args.max_new_tokens,
                (1, usize::MAX),
            )?,
            sampling: body.sampling(args, stream)?,
            stop: stop(body.stop.as_ref(), args)?,
            model: body.model,
            messages,
            n,
            logprobs,
            top_logprobs,
        })
    }
}

impl Body {
    fn sampling(&self, args: &Args, stream: u64) -> Result<Sampling, Refusal> {
        let default = args.sampling(stream);
        let sampling = Sampling {
            temperature: self.temperature.unwrap_or(default.temperature),
            top_p: self.top_p.or(default.top_p),
            top_k: self.top_k.or(default.top_k),
            min_p: self.min_p.or(default.min_p),
            repetition_penalty: self
                .repetition_penalty
                .unwrap_or(default.repetition_penalty),
            seed: self.seed.map_or(default.seed, |seed| seed as u64),
            stream,
        };
        let checked = sampling.check();
        checked.map_err(|e| Refusal::line(e.to_string()))?;
        Ok(sampling)
    }

    fn refuse_what_is_not_done(&self) -> Result<(), Refusal> {
        let is_text = |format: &Value| format.get("type").and_then(Value::as_str) == Some("text");
        let asked = [
            ("stream", self.stream == Some(true)),
            (
                "presence_penalty",
                self.presence_penalty.is_some_and(|p| p != 0.0),
            ),
            (
                "frequency_penalty",
                self.frequency_penalty.is_some_and(|p| p != 0.0),
            ),
            (
                "logit_bias",
                self.logit_bias
                    .as_ref()
                    .is_some_and(|bias| !bias.is_empty()),
            ),
            (
                "response_format",
                self.response_format.as_ref().is_some_and(|f| !is_text(f)),
            ),
            (
                "tools",
                self.tools.as_ref().is_some_and(|tools| !tools.is_empty()),
            ),
        ];
        match asked.into_iter().find(|(_, asked)| *asked) {
            Some((field, _)) => Err(Refusal::of(
                field,
                format!("{field} is not supported; leave it out"),
            )),
            None => Ok(()),
        }
    }
}

impl Turn {
    fn message(&self) -> Result<Message, Refusal> {
        let role = match self.role.as_str() {
            // OpenAI's newer word.
            "developer" => Role::SYSTEM,
            role => Role::new(role),
        };
        Ok(Message::new(role, content(&self.content)?))
    }
}

/// A message's text: as such, or in parts.
fn content(content: &Value) -> Result<String, Refusal> {
    let part = |part: &Value| {
        let is_text = part.get("type").and_then(Value::as_str) == Some("text");
        let text = part.get("text").and_then(Value::as_str);
        text.filter(|_| is_text).map(str::to_owned)
    };
    let text = match content {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => parts.iter().map(part).collect(),
        _ => None,
    };
    text.ok_or_else(|| Refusal::of("messages", "a message's content is no text"))
}

fn stop(asked: Option<&Value>, args: &Args) -> Result<Vec<String>, Refusal> {
    let wrong = || {
        Refusal::of(
            "stop",
            "stop is no text, and no list of texts that are not empty",
        )
    };
    let stops = match asked {
        None | Some(Value::Null) => return Ok(args.stop.clone()),
        Some(Value::String(stop)) => vec![stop.clone()],
        Some(Value::Array(stops)) => stops
            .iter()
            .map(|stop| stop.as_str().map(str::to_owned).ok_or_else(wrong))
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(wrong()),
    };
    if stops.iter().any(String::is_empty) {
        return Err(wrong());
    }
    Ok(stops)
}

/// The number that is asked for, where it is within bounds.
fn between(
    field: &'static str,
    asked: Option<usize>,
    default: usize,
    (least, most): (usize, usize),
) -> Result<usize, Refusal> {
    let found = asked.unwrap_or(default);
    if (least..=most).contains(&found) {
        return Ok(found);
    }
    let expected = if most == usize::MAX {
        format!("at least {least}")
    } else {
        format!("from {least} to {most}")
    };
    Err(Refusal::of(
        field,
        format!("{field} is {found}, expected {expected}"),
    ))
}
