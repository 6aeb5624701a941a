//! A batch of sequences of different lengths, packed without padding.

use std::ops::Range;
use std::sync::Arc;

use crate::ModelError;

/// Token ids of several sequences, one after the other, with the range of each.
///
/// Attention stays inside each range and positions count from the start of each sequence, so a
/// sequence's result does not depend on its neighbours.
#[derive(Clone, Debug)]
pub struct Ragged {
    ids: Vec<u32>,
    segments: Arc<[Range<usize>]>,
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
        })
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
