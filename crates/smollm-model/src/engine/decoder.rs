//! What an engine needs of a model.

use std::borrow::Cow;

use candle_core::Tensor;

use crate::{KvCache, Llama, ModelConfig, ModelError, Ragged};

/// Where a token comes from. A decoder may compute the two kinds in different arithmetic (a prompt's tokens are many,
/// answers grow one by one), so the kind belongs to the token and never follows from the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Part of a prompt.
    Prompt,
    /// Chosen by the model itself.
    Answer,
}

/// Tokens that continue one sequence in a pass.
#[derive(Debug)]
pub struct Segment<'a, C> {
    /// The new tokens, at least one.
    pub ids: &'a [u32],
    /// What the decoder remembers of the sequence; the new tokens are added.
    pub cache: &'a mut C,
    /// Adapter that computes it; `None` is the base model.
    pub adapter: Option<usize>,
    /// Where the tokens come from.
    pub phase: Phase,
    /// Whether logits after the last token are wanted.
    pub logits: bool,
}

/// Whether every segment can be computed by a model of `config` with so many adapters; `remembered` says how many tokens a
/// cache holds.
///
/// # Errors
/// A segment without tokens, a token id out of range, a sequence longer than the model's positions, an adapter that is not
/// there.
pub(crate) fn check_segments<C>(
    segments: &[Segment<'_, C>],
    config: &ModelConfig,
    adapters: usize,
    remembered: impl Fn(&C) -> usize,
) -> Result<(), ModelError> {
    let (limit, vocab_size) = (config.max_position_embeddings, config.vocab_size);
    for (index, segment) in segments.iter().enumerate() {
        if segment.ids.is_empty() {
            return Err(ModelError::EmptySequence { index });
        }
        let found = remembered(segment.cache) + segment.ids.len();
        if found > limit {
            return Err(ModelError::TooLong {
                index,
                found,
                limit,
            });
        }
        if let Some(&id) = segment.ids.iter().find(|&&id| id as usize >= vocab_size) {
            return Err(ModelError::TokenId {
                index,
                id,
                vocab_size,
            });
        }
        if let Some(adapter) = segment.adapter.filter(|a| *a >= adapters) {
            return Err(ModelError::Argument {
                what: "the adapter's number",
                found: adapter.to_string(),
                expected: format!("below {adapters}"),
            });
        }
    }
    Ok(())
}

/// A model that continues sequences.
///
/// A row's result must depend on its own sequence alone: not on the batch, the place in it, how a prompt is cut into
/// pieces, or the number of threads.
pub trait Decoder {
    /// Keys and values of one sequence.
    type Cache: Default + Send;

    /// Sizes and constants.
    fn config(&self) -> &ModelConfig;

    /// How many adapters can be named.
    fn adapters(&self) -> usize;

    /// Makes `to` remember the first `tokens` tokens of `from`, and nothing else.
    fn copy_prefix(&self, from: &Self::Cache, tokens: usize, to: &mut Self::Cache);

    /// Computes one pass. Returns `[rows, vocab]` logits, a row for each segment that wants them, in order.
    ///
    /// # Errors
    /// If a token id is out of range or a sequence grows beyond the model's positions.
    fn pass(
        &mut self,
        segments: &mut [Segment<'_, Self::Cache>],
    ) -> Result<Cow<'_, [f32]>, ModelError>;
}

impl<D: Decoder> Decoder for &mut D {
    type Cache = D::Cache;

    fn config(&self) -> &ModelConfig {
        (**self).config()
    }

    fn adapters(&self) -> usize {
        (**self).adapters()
    }

    fn copy_prefix(&self, from: &Self::Cache, tokens: usize, to: &mut Self::Cache) {
        (**self).copy_prefix(from, tokens, to);
    }

    fn pass(
        &mut self,
        segments: &mut [Segment<'_, Self::Cache>],
    ) -> Result<Cow<'_, [f32]>, ModelError> {
        (**self).pass(segments)
    }
}

/// The differentiable model, f32 throughout, with whatever adapter is attached to it: the reference that
/// [`crate::PackedLlama`] is compared with.
impl Decoder for &Llama {
    type Cache = KvCache;

    fn config(&self) -> &ModelConfig {
        Llama::config(self)
    }

    fn adapters(&self) -> usize {
        0
    }

    fn copy_prefix(&self, from: &KvCache, tokens: usize, to: &mut KvCache) {
        *to = from.prefix(tokens, Llama::config(self).key_value_width());
    }

    fn pass(
        &mut self,
        segments: &mut [Segment<'_, KvCache>],
    ) -> Result<Cow<'_, [f32]>, ModelError> {
        let ids: Vec<&[u32]> = segments.iter().map(|segment| segment.ids).collect();
        let batch = Ragged::new(&ids)?;
        let mut caches: Vec<&mut KvCache> = segments.iter_mut().map(|s| &mut *s.cache).collect();
        let hidden = self.hidden_cached(&batch, &mut caches)?;
        let wanted = segments.iter().zip(batch.segments().iter());
        let last: Vec<u32> = wanted
            .filter(|(segment, _)| segment.logits)
            .map(|(_, range)| range.end as u32 - 1)
            .collect();
        if last.is_empty() {
            return Ok(Cow::default());
        }
        let last = hidden.index_select(&Tensor::new(last, hidden.device())?, 0)?;
        Ok(self.logits(&last)?.flatten_all()?.to_vec1()?.into())
    }
}
