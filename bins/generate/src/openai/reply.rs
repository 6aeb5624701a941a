//! Lines of the output file.

use std::collections::HashSet;

use chat_prompt::Prompter;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stage::StageError;

use super::ask::Ask;
use super::line::Line;
use crate::answers::Record;
use crate::record::TokenLogprob;
use crate::task::{Answer, Chosen};

/// Why a request is not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) message: String,
    pub(crate) param: Option<&'static str>,
    pub(crate) code: Option<&'static str>,
}

impl Refusal {
    /// Something is wrong with the line as a whole.
    pub(crate) fn line(message: impl Into<String>) -> Self {
        Self {
            status: 400,
            message: message.into(),
            param: None,
            code: None,
        }
    }

    /// Something is wrong with a field.
    pub(crate) fn of(param: &'static str, message: impl Into<String>) -> Self {
        Self {
            param: Some(param),
            ..Self::line(message)
        }
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reply {
    id: String,
    custom_id: Option<String>,
    response: Response,
    error: Option<Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Response {
    status_code: u16,
    request_id: String,
    body: Value,
}

impl Reply {
    /// The line of an answered request.
    pub(crate) fn new(
        line: &Line,
        ask: &Ask,
        prompt_tokens: usize,
        answers: &[Answer],
        prompter: &Prompter,
    ) -> Result<Self, StageError> {
        let choices = answers.iter().enumerate();
        let choices: Vec<Value> = choices
            .map(|(index, answer)| choice(index, answer, ask, prompter))
            .collect::<Result<_, _>>()?;
        let completion_tokens: usize = answers.iter().map(|answer| answer.new_tokens).sum();
        let body = json!({
            "id": format!("chatcmpl-{}", line.digits()),
            "object": "chat.completion",
            "created": 0,
            "model": ask.model,
            "choices": choices,
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": completion_tokens,
                "total_tokens": prompt_tokens + completion_tokens,
            },
        });
        Ok(Self::with(line, 200, body, None))
    }

    /// The line of one that is not.
    pub(crate) fn refused(line: &Line, refusal: &Refusal) -> Self {
        let code = refusal.code.unwrap_or("invalid_request");
        let body = json!({"error": {
            "message": refusal.message,
            "type": "invalid_request_error",
            "param": refusal.param,
            "code": refusal.code,
        }});
        // OpenAI has it in the response, other programs look here.
        let error = json!({"code": code, "message": refusal.message});
        Self::with(line, refusal.status, body, Some(error))
    }

    fn with(line: &Line, status_code: u16, body: Value, error: Option<Value>) -> Self {
        Self {
            id: line.key.clone(),
            custom_id: line.custom_id.clone(),
            response: Response {
                status_code,
                request_id: format!("req_{}", line.digits()),
                body,
            },
            error,
        }
    }

    pub(crate) fn is_error(&self) -> bool {
        self.response.status_code != 200
    }

    /// Whether an answer in it was cut off.
    pub(crate) fn is_cut_off(&self) -> bool {
        let choices = self.response.body.get("choices").and_then(Value::as_array);
        choices.is_some_and(|choices| {
            choices
                .iter()
                .any(|choice| choice["finish_reason"] == "length")
        })
    }
}

impl Record for Reply {
    fn key(&self) -> &str {
        &self.id
    }

    fn name(&self) -> &str {
        self.custom_id.as_deref().unwrap_or_default()
    }

    fn is_outdated(&self, names: &HashSet<&str>) -> bool {
        // A line without a name was no request; it has been mended or taken out.
        self.custom_id.is_none() || names.contains(self.name())
    }
}

fn choice(
    index: usize,
    answer: &Answer,
    ask: &Ask,
    prompter: &Prompter,
) -> Result<Value, StageError> {
    let logprobs = if ask.logprobs {
        let tokens = answer.tokens.iter().map(|chosen| token(chosen, prompter));
        json!({"content": tokens.collect::<Result<Vec<_>, _>>()?})
    } else {
        Value::Null
    };
    Ok(json!({
        "index": index,
        "message": {"role": "assistant", "content": answer.text},
        "logprobs": logprobs,
        "finish_reason": answer.finish.name(),
    }))
}

fn token(chosen: &Chosen, prompter: &Prompter) -> Result<Value, StageError> {
    let told = |id: u32, logprob: f64| -> Result<Value, StageError> {
        let TokenLogprob { token, logprob } = TokenLogprob::new(id, logprob, prompter)?;
        // Of a part of a character only the mark of one is known.
        let bytes = (!token.contains(char::REPLACEMENT_CHARACTER)).then_some(token.as_bytes());
        Ok(json!({"token": token, "logprob": logprob, "bytes": bytes}))
    };
    let mut value = told(chosen.id, chosen.logprob)?;
    let top = chosen.top.iter().map(|(id, logprob)| told(*id, *logprob));
    value["top_logprobs"] = Value::Array(top.collect::<Result<_, _>>()?);
    Ok(value)
}
