//! Answers in the OpenAI API's form, whole and in chunks.

use serde_json::{Map, Value, json};

use crate::writer::{Piece, Token};

/// Which of the two endpoints answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Chat,
    Completions,
}

/// Token counts of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) prompt: usize,
    pub(crate) answers: usize,
}

/// What all parts of a reply have in common.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) endpoint: Endpoint,
    /// Unique.
    pub(crate) id: String,
    /// Seconds since 1970.
    pub(crate) created: u64,
    pub(crate) model: String,
    /// Whether log-probabilities are told.
    pub(crate) logprobs: bool,
    /// Whether a stream ends with token counts; then its other chunks have a `usage` of null.
    pub(crate) include_usage: bool,
}

impl Reply {
    /// The whole reply; `answers` in order, each a single piece.
    pub(crate) fn whole(&self, answers: &[Piece], usage: Usage) -> Value {
        let choice = |(index, answer): (usize, &Piece)| {
            let mut choice = json!({"index": index});
            match self.endpoint {
                Endpoint::Chat => {
                    choice["message"] = json!({
                        "role": "assistant", "content": answer.text, "refusal": null,
                    });
                }
                Endpoint::Completions => choice["text"] = json!(answer.text),
            }
            choice["logprobs"] = self.logprobs(&answer.tokens);
            choice["finish_reason"] = json!(answer.ended);
            choice
        };
        let choices: Vec<Value> = answers.iter().enumerate().map(choice).collect();
        let object = match self.endpoint {
            Endpoint::Chat => "chat.completion",
            Endpoint::Completions => "text_completion",
        };
        let mut reply = self.head(object);
        reply.insert("choices".to_owned(), json!(choices));
        reply.insert("usage".to_owned(), usage.json());
        Value::Object(reply)
    }

    /// The first chunk of an answer, where the endpoint has one without text.
    pub(crate) fn first(&self, index: usize) -> Option<Value> {
        (self.endpoint == Endpoint::Chat).then(|| {
            let delta = json!({"role": "assistant", "content": "", "refusal": null});
            self.chunk(&json!({
                "index": index, "delta": delta, "logprobs": null, "finish_reason": null,
            }))
        })
    }

    /// The chunks of a piece: of its text, and of its end.
    pub(crate) fn chunks(&self, index: usize, piece: &Piece) -> Vec<Value> {
        let mut chunks = Vec::new();
        if !piece.text.is_empty() || !piece.tokens.is_empty() {
            let text = json!(piece.text);
            let logprobs = self.logprobs(&piece.tokens);
            chunks.push(self.part(index, Some(text), logprobs, Value::Null));
        }
        if let Some(ended) = piece.ended {
            chunks.push(self.part(index, None, Value::Null, json!(ended)));
        }
        chunks
    }

    /// The last chunk of a stream, if token counts are wanted.
    pub(crate) fn last(&self, usage: Usage) -> Option<Value> {
        self.include_usage.then(|| {
            let mut chunk = self.head(self.chunk_object());
            chunk.insert("choices".to_owned(), json!([]));
            chunk.insert("usage".to_owned(), usage.json());
            Value::Object(chunk)
        })
    }

    fn part(&self, index: usize, text: Option<Value>, logprobs: Value, ended: Value) -> Value {
        let mut choice = Map::new();
        choice.insert("index".to_owned(), json!(index));
        match self.endpoint {
            Endpoint::Chat => {
                let delta = text.map_or(json!({}), |text| json!({"content": text}));
                choice.insert("delta".to_owned(), delta);
            }
            Endpoint::Completions => {
                choice.insert("text".to_owned(), text.unwrap_or(json!("")));
            }
        }
        choice.insert("logprobs".to_owned(), logprobs);
        choice.insert("finish_reason".to_owned(), ended);
        self.chunk(&Value::Object(choice))
    }

    fn chunk(&self, choice: &Value) -> Value {
        let mut chunk = self.head(self.chunk_object());
        chunk.insert("choices".to_owned(), json!([choice]));
        if self.include_usage {
            chunk.insert("usage".to_owned(), Value::Null);
        }
        Value::Object(chunk)
    }

    fn chunk_object(&self) -> &'static str {
        match self.endpoint {
            Endpoint::Chat => "chat.completion.chunk",
            Endpoint::Completions => "text_completion",
        }
    }

    fn head(&self, object: &str) -> Map<String, Value> {
        let mut head = Map::new();
        head.insert("id".to_owned(), json!(self.id));
        head.insert("object".to_owned(), json!(object));
        head.insert("created".to_owned(), json!(self.created));
        head.insert("model".to_owned(), json!(self.model));
        head
    }

    fn logprobs(&self, tokens: &[Token]) -> Value {
        match self.endpoint {
            _ if !self.logprobs => Value::Null,
            Endpoint::Chat => {
                let content: Vec<Value> = tokens.iter().map(chat_token).collect();
                json!({"content": content, "refusal": null})
            }
            Endpoint::Completions => completion_tokens(tokens),
        }
    }
}

impl Usage {
    fn json(self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.answers,
            "total_tokens": self.prompt + self.answers,
        })
    }
}

fn chat_token(token: &Token) -> Value {
    let entry = |bytes: &[u8], logprob: f64| json!({"token": String::from_utf8_lossy(bytes), "logprob": logprob, "bytes": bytes});
    let top = token
        .top
        .iter()
        .map(|(bytes, logprob)| entry(bytes, *logprob));
    let mut told = entry(&token.bytes, token.logprob);
    told["top_logprobs"] = top.collect();
    told
}

fn completion_tokens(tokens: &[Token]) -> Value {
    let top = |token: &Token| -> Value {
        let pairs = token
            .top
            .iter()
            .map(|(bytes, logprob)| (shown(bytes), json!(logprob)));
        Value::Object(pairs.collect())
    };
    json!({
        "tokens": tokens.iter().map(|t| shown(&t.bytes)).collect::<Vec<_>>(),
        "token_logprobs": tokens.iter().map(|t| t.logprob).collect::<Vec<_>>(),
        "top_logprobs": tokens.iter().map(top).collect::<Vec<_>>(),
        "text_offset": tokens.iter().map(|t| t.offset).collect::<Vec<_>>(),
    })
}

/// A token as a JSON key; one that is not whole characters is written as the OpenAI API writes it.
fn shown(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap_or_else(|_| {
        let escaped = bytes.iter().map(|byte| format!("\\x{byte:02x}"));
        format!("bytes:{}", escaped.collect::<String>())
    })
}
