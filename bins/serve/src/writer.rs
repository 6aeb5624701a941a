//! Tokens to text that may be shown: whole characters, and nothing of a stop string.

use chat_prompt::{ChatTokenizer, Prompter, StopText, TextStream};
use smollm_model::FinishReason;

use crate::api_error::ApiError;
use crate::worker::Told;

/// A part of an answer.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Piece {
    pub(crate) text: String,
    /// The tokens that the text is made of, where log-probabilities are wanted.
    pub(crate) tokens: Vec<Token>,
    /// How the answer ended, if this is the end: `stop` or `length`.
    pub(crate) ended: Option<&'static str>,
}

/// A token that was chosen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token {
    pub(crate) bytes: Vec<u8>,
    pub(crate) logprob: f64,
    /// The most likely tokens here, most likely first.
    pub(crate) top: Vec<(Vec<u8>, f64)>,
    /// Where its text begins in the answer, in characters.
    pub(crate) offset: usize,
}

/// Writes one answer.
pub(crate) struct Writer<'a> {
    tokenizer: &'a ChatTokenizer,
    stream: TextStream<'a>,
    stop: StopText,
    logprobs: bool,
    /// Characters so far, and how many of them were given out.
    said: usize,
    given: usize,
    /// Tokens whose text is not given out yet.
    tokens: Vec<Token>,
    /// Tokens so far.
    pub(crate) count: usize,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(prompter: &'a Prompter, stops: &[String], logprobs: bool) -> Self {
        Self {
            tokenizer: prompter.tokenizer(),
            stream: prompter.stream(),
            stop: StopText::new(stops),
            logprobs,
            said: 0,
            given: 0,
            tokens: Vec::new(),
            count: 0,
        }
    }

    /// Takes what the engine tells; returns what may be shown now, often nothing.
    pub(crate) fn take(&mut self, told: Told) -> Result<Piece, ApiError> {
        match told {
            Told::Token { id, logprob, top } => {
                self.count += 1;
                if self.logprobs {
                    self.keep(id, logprob, top);
                }
                let text = self.stream.push(id).map_err(broken)?;
                Ok(self.release(&text, None))
            }
            Told::End(reason) => {
                let text = self.stream.finish().map_err(broken)?;
                Ok(self.release(&text, Some(reason)))
            }
            Told::Failed(message) => Err(ApiError::internal(message)),
        }
    }

    fn keep(&mut self, id: u32, logprob: f64, top: Vec<(u32, f64)>) {
        let bytes = |id| self.tokenizer.token_bytes(id).unwrap_or_default();
        self.tokens.push(Token {
            bytes: bytes(id),
            logprob,
            top: top
                .into_iter()
                .map(|(id, logprob)| (bytes(id), logprob))
                .collect(),
            offset: self.said,
        });
    }

    /// What may be shown after `text`, which is the last if there is an `end`.
    fn release(&mut self, text: &str, end: Option<FinishReason>) -> Piece {
        self.said += text.chars().count();
        let mut text = self.stop.push(text);
        let stopped = self.stop.is_stopped();
        if end.is_some() && !stopped {
            text += &self.stop.finish();
        }
        self.given += text.chars().count();
        // A token goes with the text that it begins in; the last ones may have none of their own.
        let all = end.is_some() && !stopped;
        let shown = |token: &&Token| all || token.offset < self.given;
        let shown = self.tokens.iter().take_while(shown).count();
        Piece {
            text,
            tokens: self.tokens.drain(..shown).collect(),
            ended: match end {
                _ if stopped => Some("stop"),
                None => None,
                Some(FinishReason::Stop) => Some("stop"),
                Some(FinishReason::Length) => Some("length"),
                Some(FinishReason::Cancelled) => Some("cancelled"),
            },
        }
    }
}

fn broken(error: impl std::fmt::Display) -> ApiError {
    ApiError::internal(error.to_string())
}
