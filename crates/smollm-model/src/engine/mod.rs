//! Continuous batching: many requests share every pass over the weights.
//!
//! Each step of an [`Engine`] is one pass. Answers in progress take part with one token each; waiting requests take free
//! slots, and their prompts are read in pieces beside the others' next tokens. What a request has in common with the
//! prompt of another (a system message) is copied, not computed again. None of this can be seen in an answer: see
//! [`Decoder`].

mod decoder;
mod prefix;
mod request;

use std::collections::VecDeque;

use rayon::prelude::*;

pub(crate) use decoder::check_segments;
pub use decoder::{Decoder, Phase, Segment};
pub use request::{Completion, Event, FinishReason, Request, Sampling};

use crate::ModelError;
use crate::sampling::{Choice, Sampler};
use prefix::Prefixes;

/// How much an engine takes on at a time; changes the speed, not the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineLimits {
    /// Sequences decoded together.
    pub batch_size: usize,
    /// Most prompt tokens in one pass: bounds the memory of a pass, and how long answers in progress wait for a long prompt.
    pub prefill_tokens: usize,
}

impl Default for EngineLimits {
    /// 16 sequences, 512 prompt tokens.
    fn default() -> Self {
        Self {
            batch_size: 16,
            prefill_tokens: 512,
        }
    }
}

/// Answers requests, many at a time.
///
/// ```
/// use smollm_model::{Checkpoint, DType, Device, Engine, EngineLimits, Event, Llama, ModelSource, Request, Sampling};
///
/// # std::env::set_current_dir("../..")?;
/// let files = ModelSource::parse("fixtures/tiny-model")?.resolve()?;
/// let model = Llama::load(&Checkpoint::open(&files)?, DType::F32, &Device::Cpu)?;
/// let mut engine = Engine::new(&model, EngineLimits::default())?;
/// let index = engine.submit(Request {
///     prompt: vec![1, 327, 201],
///     adapter: None,
///     max_new_tokens: 4,
///     stop_ids: [].into(),
///     sampling: Sampling::default(),
///     top_logprobs: 2,
/// })?;
/// while !engine.is_idle() {
///     for event in engine.step()? {
///         if let Event::Finished(answer) = event {
///             assert_eq!((answer.index, answer.ids.len()), (index, 4));
///         }
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Engine<D: Decoder> {
    decoder: D,
    limits: EngineLimits,
    /// Requests submitted so far.
    submitted: usize,
    waiting: VecDeque<Waiting>,
    slots: Vec<Slot<D::Cache>>,
    prefixes: Prefixes<D::Cache>,
    /// Answers that ended between two steps.
    ended: Vec<Event>,
}

#[derive(Debug)]
struct Waiting {
    index: usize,
    request: Request,
}

/// One request being answered.
#[derive(Debug)]
struct Slot<C> {
    index: usize,
    request: Request,
    /// Prompt tokens that the cache holds.
    read: usize,
    /// The answer so far; its last token is not in the cache yet.
    ids: Vec<u32>,
    budget: usize,
    cache: C,
    sampler: Sampler,
    /// Sum over the tokens chosen so far.
    logprob: f64,
    chosen: usize,
}

impl<C> Slot<C> {
    fn completion(self, finish_reason: FinishReason) -> (Completion, Vec<u32>, C) {
        let mean_logprob = (self.chosen > 0).then(|| self.logprob / self.chosen as f64);
        let completion = Completion {
            index: self.index,
            ids: self.ids,
            finish_reason,
            mean_logprob,
        };
        (completion, self.request.prompt, self.cache)
    }
}

impl<D: Decoder> Engine<D> {
    /// An engine without requests.
    ///
    /// # Errors
    /// If a limit is 0.
    pub fn new(decoder: D, limits: EngineLimits) -> Result<Self, ModelError> {
        let values = [
            ("batch_size", limits.batch_size),
            ("prefill_tokens", limits.prefill_tokens),
        ];
        if let Some((what, _)) = values.into_iter().find(|(_, value)| *value == 0) {
            return Err(ModelError::Argument {
                what,
                found: "0".to_owned(),
                expected: "at least 1".to_owned(),
            });
        }
        Ok(Self {
            decoder,
            limits,
            submitted: 0,
            waiting: VecDeque::new(),
            slots: Vec::new(),
            prefixes: Prefixes::default(),
            ended: Vec::new(),
        })
    }

    /// The model.
    pub fn decoder(&self) -> &D {
        &self.decoder
    }

    /// Requests that wait for a slot.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Requests being answered.
    pub fn running(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.slots.is_empty() && self.ended.is_empty()
    }

    /// Takes a request. Returns its number, which its events carry.
    ///
    /// # Errors
    /// As [`Request::check`]; nothing is taken then.
    pub fn submit(&mut self, request: Request) -> Result<usize, ModelError> {
        let index = self.submitted;
        request.check(self.decoder.config(), self.decoder.adapters(), index)?;
        self.submitted += 1;
        if request.max_new_tokens == 0 {
            self.ended.push(Event::Finished(Completion {
                index,
                ids: Vec::new(),
                finish_reason: FinishReason::Length,
                mean_logprob: None,
            }));
        } else {
            self.waiting.push_back(Waiting { index, request });
        }
        Ok(index)
    }

    /// Ends a request, waiting or being answered, and returns what was answered so far; no further event names it.
    /// `None` if it is not there any more. For stop strings, and for clients that went away.
    pub fn cancel(&mut self, index: usize) -> Option<Completion> {
        if let Some(at) = self.waiting.iter().position(|w| w.index == index) {
            self.waiting.remove(at);
            return Some(Completion {
                index,
                ids: Vec::new(),
                finish_reason: FinishReason::Cancelled,
                mean_logprob: None,
            });
        }
        let at = self.slots.iter().position(|slot| slot.index == index)?;
        let slot = self.slots.remove(at);
        Some(self.release(slot, FinishReason::Cancelled))
    }

    /// One pass. Returns what happened, token before completion.
    ///
    /// # Errors
    /// If the model fails or its logits are not finite. The engine is of no use any more then.
    pub fn step(&mut self) -> Result<Vec<Event>, ModelError> {
        let mut events = std::mem::take(&mut self.ended);
        self.admit();
        if self.slots.is_empty() {
            return Ok(events);
        }
        let choices = self.choose()?;
        let slots = std::mem::take(&mut self.slots);
        for (mut slot, choice) in slots.into_iter().zip(choices) {
            let Some(choice) = choice else {
                self.slots.push(slot);
                continue;
            };
            if !choice.logprob.is_finite() {
                return Err(ModelError::NotFinite { index: slot.index });
            }
            let stopped = slot.request.stop_ids.contains(&choice.id);
            slot.chosen += 1;
            slot.logprob += choice.logprob;
            if !stopped {
                slot.ids.push(choice.id);
                events.push(Event::Token {
                    index: slot.index,
                    id: choice.id,
                    logprob: choice.logprob,
                    top: choice.top,
                });
            }
            if stopped {
                let done = self.release(slot, FinishReason::Stop);
                events.push(Event::Finished(done));
            } else if slot.ids.len() >= slot.budget {
                let done = self.release(slot, FinishReason::Length);
                events.push(Event::Finished(done));
            } else {
                self.slots.push(slot);
            }
        }
        Ok(events)
    }

    fn release(&mut self, slot: Slot<D::Cache>, reason: FinishReason) -> Completion {
        let (adapter, read) = (slot.request.adapter, slot.read);
        let (completion, mut prompt, cache) = slot.completion(reason);
        prompt.truncate(read);
        self.prefixes.keep(adapter, prompt, cache);
        completion
    }

    /// Gives free slots to waiting requests, in their order. A request whose prompt begins like one that is being read
    /// waits until that part is read.
    fn admit(&mut self) {
        while self.slots.len() < self.limits.batch_size {
            let Some(Waiting { index, request }) = self.waiting.pop_front() else {
                break;
            };
            let Some((cache, read)) = self.begin(&request) else {
                self.waiting.push_front(Waiting { index, request });
                break;
            };
            let positions = self.decoder.config().max_position_embeddings;
            self.slots.push(Slot {
                index,
                read,
                ids: Vec::new(),
                budget: request.max_new_tokens.min(positions - request.prompt.len()),
                cache,
                sampler: Sampler::new(&request.sampling, &request.prompt),
                logprob: 0.0,
                chosen: 0,
                request,
            });
        }
    }

    /// A cache that holds as much of the prompt as others have read already, and how much that is; `None` if another is
    /// about to read more of it.
    fn begin(&mut self, request: &Request) -> Option<(D::Cache, usize)> {
        // The last token is always computed: its logits are wanted.
        let wanted = &request.prompt[..request.prompt.len() - 1];
        let mut best: Option<(&D::Cache, usize)> = None;
        let mut coming = 0;
        for slot in self
            .slots
            .iter()
            .filter(|s| s.request.adapter == request.adapter)
        {
            let common = prefix::shared(&slot.request.prompt, wanted);
            let ready = common.min(slot.read);
            coming = coming.max(common);
            if best.is_none_or(|(_, most)| ready > most) {
                best = Some((&slot.cache, ready));
            }
        }
        let kept = self.prefixes.best(request.adapter, wanted);
        if let Some(found) = kept.filter(|(_, most)| best.is_none_or(|(_, ready)| *most > ready)) {
            best = Some(found);
        }
        let ready = best.map_or(0, |(_, ready)| ready);
        if coming >= ready + prefix::WORTH_SHARING {
            return None;
        }
        let mut cache = D::Cache::default();
        let Some((from, tokens)) = best.filter(|(_, ready)| *ready >= prefix::WORTH_SHARING) else {
            return Some((cache, 0));
        };
        self.decoder.copy_prefix(from, tokens, &mut cache);
        Some((cache, tokens))
    }

    /// Runs the pass; the next token of every slot whose prompt is read.
    fn choose(&mut self) -> Result<Vec<Option<Choice>>, ModelError> {
        let mut room = self.limits.prefill_tokens;
        let mut segments = Vec::with_capacity(self.slots.len());
        let mut wants = Vec::with_capacity(self.slots.len());
        for slot in &mut self.slots {
            let (ids, phase) = match &slot.request.prompt[slot.read..] {
                [] => (&slot.ids[slot.ids.len() - 1..], Phase::Answer),
                rest => (&rest[..room.min(rest.len())], Phase::Prompt),
            };
            if phase == Phase::Prompt {
                room -= ids.len();
                slot.read += ids.len();
            }
            let logits = slot.read == slot.request.prompt.len();
            wants.push(logits);
            if !ids.is_empty() {
                segments.push(Segment {
                    ids,
                    cache: &mut slot.cache,
                    adapter: slot.request.adapter,
                    phase,
                    logits,
                });
            }
        }
        let vocab_size = self.decoder.config().vocab_size;
        let logits = self.decoder.pass(&mut segments)?;
        let mut rows = logits.chunks_exact(vocab_size);
        let rows: Vec<Option<&[f32]>> = wants
            .into_iter()
            .map(|wanted| wanted.then(|| rows.next()).flatten())
            .collect();
        let chosen = self.slots.par_iter_mut().zip(rows).map(|(slot, row)| {
            let (sampling, top) = (&slot.request.sampling, slot.request.top_logprobs);
            row.map(|logits| slot.sampler.choose(sampling, logits, top))
        });
        Ok(chosen.collect())
    }
}
