//! Generation for many prompts at once.
//!
//! Up to `batch_size` sequences are decoded together. A finished one leaves and the next prompt takes
//! its slot; its prefill rides in the same pass as the others' next tokens. Every row of a pass is
//! computed in an order of its own (see [`crate::ops`]), so an answer is the same alone and in any
//! company.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use candle_core::Tensor;
use rayon::prelude::*;

use crate::sampling::{Choice, Sampler};
use crate::{KvCache, Llama, ModelError, Ragged};

/// Prompt tokens that enter one pass, so that a long queue does not swell the activations.
const PREFILL_TOKENS: usize = 2048;

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
            batch_size: 16,
        }
    }
}

impl GenerationConfig {
    fn check(&self, prompts: usize) -> Result<(), ModelError> {
        let refuse = |what, found: String, expected: &str| {
            Err(ModelError::Argument {
                what,
                found,
                expected: expected.to_owned(),
            })
        };
        if self.batch_size == 0 {
            return refuse("batch_size", "0".to_owned(), "at least 1");
        }
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
        if !self.streams.is_empty() && self.streams.len() != prompts {
            let expected = format!("{prompts}, one for each prompt");
            return refuse(
                "the number of streams",
                self.streams.len().to_string(),
                &expected,
            );
        }
        for (what, share) in [("top_p", self.top_p), ("min_p", self.min_p)] {
            if let Some(p) = share.filter(|p| !(*p > 0.0 && *p <= 1.0)) {
                return refuse(what, p.to_string(), "above 0 and at most 1");
            }
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
}

/// The answer to one prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// Index of the prompt.
    pub index: usize,
    /// The new tokens, without the stop token.
    pub ids: Vec<u32>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Mean log-probability (nats) of the chosen tokens, the stop token included, under the model alone; `None` without
    /// a token.
    pub mean_logprob: Option<f64>,
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
pub fn generate(
    model: &Llama,
    prompts: &[Vec<u32>],
    config: &GenerationConfig,
    on_event: &mut dyn FnMut(GenerationEvent) -> ControlFlow<()>,
) -> Result<Vec<Completion>, ModelError> {
    config.check(prompts.len())?;
    let positions = model.config().max_position_embeddings;
    Ragged::new(prompts)?.check(model.config().vocab_size, positions, |_| 1)?;
    let mut engine = Engine {
        model,
        config,
        prompts,
        slots: Vec::new(),
        done: Vec::new(),
    };
    let mut waiting: VecDeque<usize> = (0..prompts.len()).collect();
    if config.max_new_tokens == 0 {
        waiting.clear();
        engine
            .done
            .extend((0..prompts.len()).map(|index| Completion {
                index,
                ids: Vec::new(),
                finish_reason: FinishReason::Length,
                mean_logprob: None,
            }));
    }
    while !(waiting.is_empty() && engine.slots.is_empty()) {
        engine.admit(&mut waiting);
        if engine.step(on_event)?.is_break() {
            break;
        }
    }
    engine.done.sort_by_key(|completion| completion.index);
    Ok(engine.done)
}

/// One sequence being decoded.
struct Slot {
    index: usize,
    /// Tokens that the next pass feeds: the prompt at first, then the token chosen last.
    next: Vec<u32>,
    ids: Vec<u32>,
    budget: usize,
    cache: KvCache,
    sampler: Sampler,
    /// Sum over the tokens chosen so far.
    logprob: f64,
}

struct Engine<'a> {
    model: &'a Llama,
    config: &'a GenerationConfig,
    prompts: &'a [Vec<u32>],
    slots: Vec<Slot>,
    done: Vec<Completion>,
}

impl Engine<'_> {
    /// Fills free slots with waiting prompts, as many as one pass takes.
    fn admit(&mut self, waiting: &mut VecDeque<usize>) {
        let mut tokens = 0;
        while self.slots.len() < self.config.batch_size {
            let Some(&index) = waiting.front() else { break };
            let prompt = &self.prompts[index];
            if tokens > 0 && tokens + prompt.len() > PREFILL_TOKENS {
                break;
            }
            waiting.pop_front();
            tokens += prompt.len();
            let room = self.model.config().max_position_embeddings - prompt.len();
            self.slots.push(Slot {
                index,
                next: prompt.clone(),
                ids: Vec::new(),
                budget: self.config.max_new_tokens.min(room),
                cache: KvCache::default(),
                sampler: Sampler::new(self.config, self.stream(index), prompt),
                logprob: 0.0,
            });
        }
    }

    fn stream(&self, index: usize) -> u64 {
        self.config
            .streams
            .get(index)
            .copied()
            .unwrap_or(index as u64)
    }

    /// One pass over all slots: one new token each.
    fn step(
        &mut self,
        on_event: &mut dyn FnMut(GenerationEvent) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, ModelError> {
        let choices = self.choose()?;
        for (mut slot, choice) in std::mem::take(&mut self.slots).into_iter().zip(choices) {
            let id = choice.id;
            slot.logprob += choice.logprob;
            let stopped = self.config.stop_ids.contains(&id);
            if !stopped {
                slot.ids.push(id);
                if on_event(GenerationEvent::Token {
                    index: slot.index,
                    id,
                })
                .is_break()
                {
                    return Ok(ControlFlow::Break(()));
                }
            }
            if !stopped && slot.ids.len() < slot.budget {
                slot.next = vec![id];
                self.slots.push(slot);
                continue;
            }
            let finish_reason = if stopped {
                FinishReason::Stop
            } else {
                FinishReason::Length
            };
            let chosen = slot.ids.len() + usize::from(stopped);
            let completion = Completion {
                index: slot.index,
                ids: slot.ids,
                finish_reason,
                mean_logprob: Some(slot.logprob / chosen as f64),
            };
            self.done.push(completion.clone());
            if on_event(GenerationEvent::Finished(completion)).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The next token of every slot.
    fn choose(&mut self) -> Result<Vec<Choice>, ModelError> {
        let logits = self.next_logits()?.to_vec2::<f32>()?;
        let config = self.config;
        let slots = self.slots.par_iter_mut().zip(&logits);
        Ok(slots
            .map(|(slot, logits)| slot.sampler.choose(config, logits))
            .collect())
    }

    /// Logits after the last token of every slot, `[slots, vocab]`.
    fn next_logits(&mut self) -> Result<Tensor, ModelError> {
        let inputs: Vec<&[u32]> = self.slots.iter().map(|slot| slot.next.as_slice()).collect();
        let batch = Ragged::new(&inputs)?;
        let mut caches: Vec<&mut KvCache> =
            self.slots.iter_mut().map(|slot| &mut slot.cache).collect();
        let hidden = self.model.hidden_cached(&batch, &mut caches)?;
        let last: Vec<u32> = batch
            .segments()
            .iter()
            .map(|range| range.end as u32 - 1)
            .collect();
        let last = hidden.index_select(&Tensor::new(last, hidden.device())?, 0)?;
        self.model.logits(&last)
    }
}
