//! What an engine is asked, and what it tells.

use std::sync::Arc;

use crate::{GenerationConfig, ModelConfig, ModelError};

/// How the next token is chosen. The steps, and their order, are those of transformers' logits processors.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// 0 takes the most likely token, ties to the lowest id; otherwise logits are divided by it and sampled.
    pub temperature: f64,
    /// When sampling, keep this many of the most likely tokens, and what ties with the last.
    pub top_k: Option<usize>,
    /// When sampling, keep the most likely tokens whose probabilities add up to this.
    pub top_p: Option<f64>,
    /// When sampling, keep tokens at least this share as likely as the most likely one.
    pub min_p: Option<f64>,
    /// Divides the positive logits of tokens that the prompt or the answer has, and multiplies their negative ones; 1
    /// changes nothing. Greedy too.
    pub repetition_penalty: f64,
    /// Seed of the draws.
    pub seed: u64,
    /// Names this answer's stream of draws: the same seed and stream draw the same, whatever else is answered.
    pub stream: u64,
}

impl Default for Sampling {
    /// Greedy, no penalty.
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: None,
            top_p: None,
            min_p: None,
            repetition_penalty: 1.0,
            seed: 0,
            stream: 0,
        }
    }
}

impl Sampling {
    /// Whether every setting makes sense.
    ///
    /// # Errors
    /// The first that does not, with what would be right.
    pub fn check(&self) -> Result<(), ModelError> {
        let refuse = |what, found: String, expected: &str| {
            Err(ModelError::Argument {
                what,
                found,
                expected: expected.to_owned(),
            })
        };
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return refuse(
                "temperature",
                self.temperature.to_string(),
                "0 (greedy) or more",
            );
        }
        if !(self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite()) {
            let found = self.repetition_penalty.to_string();
            return refuse("repetition_penalty", found, "above 0; 1 changes nothing");
        }
        if self.top_k == Some(0) {
            return refuse("top_k", "0".to_owned(), "at least 1");
        }
        for (what, share) in [("top_p", self.top_p), ("min_p", self.min_p)] {
            if let Some(p) = share.filter(|p| !(*p > 0.0 && *p <= 1.0)) {
                return refuse(what, p.to_string(), "above 0 and at most 1");
            }
        }
        Ok(())
    }
}

/// One prompt, and how to answer it.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Token ids, at least one.
    pub prompt: Vec<u32>,
    /// Which of the decoder's adapters answers; `None` is the base model.
    pub adapter: Option<usize>,
    /// Most tokens of the answer; the model's positions may end it earlier.
    pub max_new_tokens: usize,
    /// Tokens that end the answer; they are not part of it.
    pub stop_ids: Arc<[u32]>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// How many of the most likely tokens to tell at each place, with their log-probabilities.
    pub top_logprobs: usize,
}

impl Request {
    /// A request of a batch: prompt `index` of those that `config` is for.
    pub(crate) fn of_batch(prompt: &[u32], config: &GenerationConfig, index: usize) -> Self {
        Self {
            prompt: prompt.to_vec(),
            adapter: config.adapter,
            max_new_tokens: config.max_new_tokens,
            stop_ids: config.stop_ids.as_slice().into(),
            sampling: config.sampling(index),
            top_logprobs: 0,
        }
    }

    /// Whether the model can answer this at all.
    ///
    /// # Errors
    /// If the prompt is empty, holds an id outside the vocabulary or leaves no position for an answer, there is no such
    /// adapter, or a sampling setting makes no sense. `index` names the request in the error.
    pub fn check(
        &self,
        config: &ModelConfig,
        adapters: usize,
        index: usize,
    ) -> Result<(), ModelError> {
        self.sampling.check()?;
        if let Some(adapter) = self.adapter.filter(|adapter| *adapter >= adapters) {
            return Err(ModelError::Argument {
                what: "the adapter's number",
                found: adapter.to_string(),
                expected: format!("below {adapters}, the number of adapters loaded"),
            });
        }
        if self.prompt.is_empty() {
            return Err(ModelError::EmptySequence { index });
        }
        let vocab_size = config.vocab_size;
        if let Some(&id) = self.prompt.iter().find(|&&id| id as usize >= vocab_size) {
            return Err(ModelError::TokenId {
                index,
                id,
                vocab_size,
            });
        }
        let (found, limit) = (self.prompt.len() + 1, config.max_position_embeddings);
        if found > limit {
            return Err(ModelError::TooLong {
                index,
                found,
                limit,
            });
        }
        Ok(())
    }
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// A stop token was chosen.
    Stop,
    /// `max_new_tokens` were generated, or the model has no more positions.
    Length,
    /// The caller ended it.
    Cancelled,
}

/// The answer to one prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// Number of the request, counted from 0 in the order of submission.
    pub index: usize,
    /// The new tokens, without the stop token.
    pub ids: Vec<u32>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Mean log-probability (nats) of the chosen tokens, the stop token included, under the model alone; `None` without
    /// a token.
    pub mean_logprob: Option<f64>,
}

/// What happened in one step of an [`crate::Engine`].
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A token of an answer was chosen.
    Token {
        /// Number of the request.
        index: usize,
        /// The token.
        id: u32,
        /// Its log-probability (nats) under the model alone.
        logprob: f64,
        /// The most likely tokens here with their log-probabilities, most likely first, as many as were asked for.
        top: Vec<(u32, f64)>,
    },
    /// An answer is complete.
    Finished(Completion),
}
