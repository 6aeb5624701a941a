//! Generation for many prompts at once.
//!
//! Up to `batch_size` sequences are decoded together. A finished one leaves and the next prompt takes
//! its slot; its prefill rides in the same pass as the others' next tokens. Every row of a pass is
//! computed in an order of its own (see [`crate::ops`]), so an answer is the same alone and in any
//! company.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use candle_core::Tensor;
use candle_transformers::generation::{LogitsProcessor, Sampling};

use crate::ops::mix;
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
    /// When sampling, keep the most likely tokens whose probabilities add up to this.
    pub top_p: Option<f64>,
    /// Seed of the sampling; each prompt has a stream of its own, from the seed and its index.
    pub seed: u64,
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
            top_p: None,
            seed: 0,
            batch_size: 16,
        }
    }
}

impl GenerationConfig {
    fn check(&self) -> Result<(), ModelError> {
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
        match self.top_p {
            Some(p) if !(p > 0.0 && p <= 1.0) => {
                refuse("top_p", p.to_string(), "above 0 and at most 1")
            }
            _ => Ok(()),
        }
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Index of the prompt.
    pub index: usize,
    /// The new tokens, without the stop token.
    pub ids: Vec<u32>,
    /// Why it ended.
    pub finish_reason: FinishReason,
}

/// What [`generate`] tells its caller while it works.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    config.check()?;
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
    sampler: LogitsProcessor,
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
                sampler: self.sampler(index),
            });
        }
    }

    fn sampler(&self, index: usize) -> LogitsProcessor {
        let temperature = self.config.temperature;
        let sampling = match self.config.top_p {
            _ if temperature == 0.0 => Sampling::ArgMax,
            Some(p) if p < 1.0 => Sampling::TopP { p, temperature },
            _ => Sampling::All { temperature },
        };
        LogitsProcessor::from_sampling(mix(self.config.seed, index as u64), sampling)
    }

    /// One pass over all slots: one new token each.
    fn step(
        &mut self,
        on_event: &mut dyn FnMut(GenerationEvent) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, ModelError> {
        let logits = self.next_logits()?;
        for (row, mut slot) in std::mem::take(&mut self.slots).into_iter().enumerate() {
            let id = choose(&mut slot.sampler, self.config.temperature, &logits, row)?;
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
            let completion = Completion {
                index: slot.index,
                ids: slot.ids,
                finish_reason,
            };
            self.done.push(completion.clone());
            if on_event(GenerationEvent::Finished(completion)).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
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

/// The next token after row `row` of `logits`.
fn choose(
    sampler: &mut LogitsProcessor,
    temperature: f64,
    logits: &Tensor,
    row: usize,
) -> Result<u32, ModelError> {
    let row = logits.get(row)?;
    if temperature > 0.0 {
        return Ok(sampler.sample(&row)?);
    }
    let values = row.to_vec1::<f32>()?;
    let mut best = 0;
    for (id, value) in values.iter().enumerate() {
        // Strictly greater: ties go to the lowest id.
        if *value > values[best] {
            best = id;
        }
    }
    Ok(best as u32)
}
