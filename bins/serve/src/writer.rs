//! Tokens to text that may be shown: whole characters, and nothing of a stop string.

use chat_prompt::{ChatTokenizer, Prompter, TextStream};
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
    stops: &'a [String],
    logprobs: bool,
    /// Text that may be the beginning of a stop string.
    held: String,
    /// Characters given out.
    given: usize,
    /// Tokens whose text is not given out yet.
    tokens: Vec<Token>,
    /// Tokens so far.
    pub(crate) count: usize,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(prompter: &'a Prompter, stops: &'a [String], logprobs: bool) -> Self {
        Self {
            tokenizer: prompter.tokenizer(),
            stream: prompter.stream(),
            stops,
            logprobs,
            held: String::new(),
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
                    let bytes = |id| self.tokenizer.token_bytes(id).unwrap_or_default();
                    self.tokens.push(Token {
                        bytes: bytes(id),
                        logprob,
                        top: top
                            .into_iter()
                            .map(|(id, logprob)| (bytes(id), logprob))
                            .collect(),
                        offset: self.given + self.held.chars().count(),
                    });
                }
                let text = self.stream.push(id).map_err(broken)?;
                self.held.push_str(&text);
                Ok(self.release(false))
            }
            Told::End(reason) => {
                let text = self.stream.finish().map_err(broken)?;
                self.held.push_str(&text);
                let mut piece = self.release(true);
                piece.ended.get_or_insert(match reason {
                    FinishReason::Stop => "stop",
                    FinishReason::Length => "length",
                    FinishReason::Cancelled => "cancelled",
                });
                Ok(piece)
            }
            Told::Failed(message) => Err(ApiError::internal(message)),
        }
    }

    fn release(&mut self, last: bool) -> Piece {
        let stop = self
            .stops
            .iter()
            .filter_map(|stop| self.held.find(stop))
            .min();
        let end = match stop {
            Some(at) => at,
            None if last => self.held.len(),
            None => self.held.len() - longest_beginning(&self.held, self.stops),
        };
        let text: String = self.held.drain(..end).collect();
        self.given += text.chars().count();
        // A token goes with the text it begins in; the last ones may have none of their own.
        let whole = last && stop.is_none();
        let known = self
            .tokens
            .iter()
            .take_while(|token| whole || token.offset < self.given);
        let known = known.count();
        Piece {
            text,
            tokens: self.tokens.drain(..known).collect(),
            ended: stop.map(|_| "stop"),
        }
    }
}

/// Length in bytes of the longest end of `text` that a stop string begins with.
fn longest_beginning(text: &str, stops: &[String]) -> usize {
    let most = stops.iter().map(String::len).max().unwrap_or(0);
    let from = text.len() - text.len().min(most.saturating_sub(1));
    let mut ends = (from..text.len()).filter_map(|at| text.get(at..));
    ends.find(|end| {
        stops
            .iter()
            .any(|stop| stop.len() > end.len() && stop.starts_with(end))
    })
    .map_or(0, str::len)
}

fn broken(error: impl std::fmt::Display) -> ApiError {
    ApiError::internal(error.to_string())
}
