//! Generation for a list of prompts: an [`Engine`] run to its end.

use std::ops::ControlFlow;

use crate::{Completion, Decoder, Engine, EngineLimits, Event, ModelError, Request, Sampling};

/// How to choose tokens and when to stop.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationConfig {
    /// Most tokens of an answer.
    pub max_new_tokens: usize,
    /// Tokens that end an answer; they are not part of it.
    pub stop_ids: Vec<u32>,
    /// 0 takes the most likely token, ties to the lowest id; otherwise logits are divided by it and
    /// sampled.
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
    /// Seed of the sampling; each prompt has a stream of its own.
    pub seed: u64,
    /// Names of the prompts' streams, one for each prompt; its index if empty. With names that go by what is asked, an
    /// answer is the same whatever else is asked, and in whatever order.
    pub streams: Vec<u64>,
    /// Which of the decoder's adapters answers; `None` is the base model.
    pub adapter: Option<usize>,
    /// Sequences decoded together.
    pub batch_size: usize,
}

impl Default for GenerationConfig {
    /// Greedy, at most 256 tokens, 16 sequences together, no stop ids.
    fn default() -> Self {
        Self {
            max_new_tokens: 256,
            stop_ids: Vec::new(),
            temperature: 0.0,
            top_k: None,
            top_p: None,
            min_p: None,
            repetition_penalty: 1.0,
            seed: 0,
            streams: Vec::new(),
            adapter: None,
            batch_size: 16,
        }
    }
}

impl GenerationConfig {
    /// How tokens of the answer to prompt `index` are chosen.
    pub(crate) fn sampling(&self, index: usize) -> Sampling {
        Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            seed: self.seed,
            stream: self.streams.get(index).copied().unwrap_or(index as u64),
        }
    }

    fn check(&self, prompts: usize) -> Result<(), ModelError> {
        if !self.streams.is_empty() && self.streams.len() != prompts {
            return Err(ModelError::Argument {
                what: "the number of streams",
                found: self.streams.len().to_string(),
                expected: format!("{prompts}, one for each prompt"),
            });
        }
        self.sampling(0).check()
    }
}

/// What [`generate`] tells its caller while it works.
#[derive(Clone, Debug, PartialEq)]
pub enum GenerationEvent {
    /// A token of the answer to prompt `index` was chosen.
    Token {
        /// Index of the prompt.
        index: usize,
        /// The token.
        id: u32,
    },
    /// An answer is complete.
    Finished(Completion),
}

/// Answers `prompts` (token ids). Returns the completions in the order of the prompts; when
/// `on_event` breaks, those that were complete by then.
///
/// # Errors
/// If a prompt is empty, holds an id outside the vocabulary or leaves no position for an answer, or
/// a setting makes no sense: nothing is generated then.
pub fn generate<D: Decoder>(
    decoder: D,
    prompts: &[Vec<u32>],
    config: &GenerationConfig,
    on_event: &mut dyn FnMut(GenerationEvent) -> ControlFlow<()>,
) -> Result<Vec<Completion>, ModelError> {
    config.check(prompts.len())?;
    let limits = EngineLimits {
        batch_size: config.batch_size,
        ..EngineLimits::default()
    };
    let mut engine = Engine::new(decoder, limits)?;
    for (index, prompt) in prompts.iter().enumerate() {
        engine.submit(Request::of_batch(prompt, config, index))?;
    }
    let mut done: Vec<Completion> = Vec::with_capacity(prompts.len());
    'passes: while !engine.is_idle() {
        for event in engine.step()? {
            let told = match event {
                Event::Token { index, id, .. } => GenerationEvent::Token { index, id },
                Event::Finished(completion) => {
                    done.push(completion.clone());
                    GenerationEvent::Finished(completion)
                }
            };
            if on_event(told).is_break() {
                break 'passes;
            }
        }
    }
    done.sort_by_key(|completion| completion.index);
    Ok(done)
}
