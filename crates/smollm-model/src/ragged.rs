//! A batch of sequences of different lengths, packed without padding.

use std::ops::Range;
use std::sync::Arc;

use crate::{EmbeddingNoise, ModelError};

/// Token ids of several sequences, one after the other, with the range of each.
///
/// Attention stays inside each range and positions count from the start of each sequence, so a
/// sequence's result does not depend on its neighbours.
#[derive(Clone, Debug)]
pub struct Ragged {
    ids: Vec<u32>,
    segments: Arc<[Range<usize>]>,
    noise: Option<EmbeddingNoise>,
}

impl Ragged {
    /// Packs `sequences` in the order given.
    ///
    /// # Errors
    /// If a sequence is empty.
    pub fn new<S: AsRef<[u32]>>(sequences: &[S]) -> Result<Self, ModelError> {
        let mut ids = Vec::new();
        let mut segments = Vec::with_capacity(sequences.len());
        for (index, sequence) in sequences.iter().enumerate() {
            let sequence = sequence.as_ref();
            if sequence.is_empty() {
                return Err(ModelError::EmptySequence { index });
            }
            segments.push(ids.len()..ids.len() + sequence.len());
            ids.extend_from_slice(sequence);
        }
        Ok(Self {
            ids,
            segments: segments.into(),
            noise: None,
        })
    }

    /// The same sequences with noise on their embeddings, wherever they are embedded: for training alone.
    ///
    /// # Errors
    /// If there is not one bound for each sequence.
    pub fn with_noise(mut self, noise: EmbeddingNoise) -> Result<Self, ModelError> {
        if noise.sequences() != self.segments.len() {
            return Err(ModelError::Argument {
                what: "the number of bounds of noise",
                found: noise.sequences().to_string(),
                expected: format!("{}, one for each sequence", self.segments.len()),
            });
        }
        self.noise = Some(noise);
        Ok(self)
    }

    /// All token ids, sequence after sequence.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Where each sequence stands in [`Ragged::ids`], and so in the rows of the hidden states.
    pub fn segments(&self) -> &Arc<[Range<usize>]> {
        &self.segments
    }

    /// Tokens in all.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Whether embeddings get noise.
    pub(crate) fn is_noisy(&self) -> bool {
        self.noise.is_some()
    }

    /// Adds the noise, if there is any, to embeddings `[_, hidden]` of tokens from `first` on.
    pub(crate) fn add_noise(&self, first: usize, rows: &mut [f32], hidden: usize) {
        let Some(noise) = &self.noise else { return };
        let sequence_of = |token: usize| self.segments.partition_point(|s| s.end <= token);
        for (token, row) in (first..).zip(rows.chunks_exact_mut(hidden)) {
            let sequence = sequence_of(token);
            noise.add(sequence, token - self.segments[sequence].start, row);
        }
    }

    /// Checks every id against the vocabulary and every length, `past` tokens included, against the
    /// model's positions.
    pub(crate) fn check(
        &self,
        vocab_size: usize,
        limit: usize,
        past: impl Fn(usize) -> usize,
    ) -> Result<(), ModelError> {
        for (index, range) in self.segments.iter().enumerate() {
            let found = past(index) + range.len();
            if found > limit {
                return Err(ModelError::TooLong {
                    index,
                    found,
                    limit,
                });
            }
            let ids = &self.ids[range.clone()];
            if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocab_size) {
                return Err(ModelError::TokenId {
                    index,
                    id,
                    vocab_size,
                });
            }
        }
        Ok(())
    }

    /// The position of every token, where sequence `i` continues after `past(i)` tokens.
    pub(crate) fn positions(&self, past: impl Fn(usize) -> usize) -> Vec<u32> {
        let of = |(i, range): (usize, &Range<usize>)| {
            let start = past(i) as u32;
            start..start + range.len() as u32
        };
        self.segments.iter().enumerate().flat_map(of).collect()
    }
}
