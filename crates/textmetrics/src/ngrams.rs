//! N-grams of any order as small integers, counted without storing one.

use crate::intern::FastMap;

/// Gives n-grams ids, one order after another: the id of an n-gram is the id of the pair of its
/// first n − 1 tokens' id and its last token.
///
/// Ids mean something within one row and one order only, so memory is bounded by the longest row.
#[derive(Default)]
pub(crate) struct NGrams {
    pairs: FastMap<u64, u32>,
    counts: Vec<u32>,
    limits: Vec<u32>,
}

/// A text's tokens, and the ids of its n-grams of the order at hand.
#[derive(Default)]
pub(crate) struct Grams {
    pub(crate) tokens: Vec<u32>,
    /// One a place where an n-gram starts.
    pub(crate) ids: Vec<u32>,
}

impl Grams {
    /// Order 0: before each token stands the one empty n-gram, and one more at the end.
    pub(crate) fn reset(&mut self) {
        self.ids.clear();
        self.ids.resize(self.tokens.len() + 1, 0);
    }
}

impl NGrams {
    /// Begins the next order; ids of the last one are void.
    pub(crate) fn next_order(&mut self) {
        self.pairs.clear();
    }

    /// Takes a text from the last order to the next one.
    pub(crate) fn extend(&mut self, text: &mut Grams) {
        let Some(places) = text.ids.len().checked_sub(1) else {
            return;
        };
        text.ids.truncate(places);
        let lasts = &text.tokens[text.tokens.len() - places..];
        for (id, &last) in text.ids.iter_mut().zip(lasts) {
            let fresh = self.pairs.len() as u32;
            let pair = u64::from(*id) << 32 | u64::from(last);
            *id = *self.pairs.entry(pair).or_insert(fresh);
        }
    }

    /// How many of `text`'s n-grams are in `references`, each counted no more often than in the
    /// reference that has it most often.
    pub(crate) fn clipped<'a>(
        &mut self,
        text: &[u32],
        references: impl Iterator<Item = &'a [u32]>,
    ) -> u64 {
        let Self {
            pairs,
            counts,
            limits,
        } = self;
        limits.clear();
        limits.resize(pairs.len(), 0);
        for reference in references {
            counts.clear();
            counts.resize(pairs.len(), 0);
            for &id in reference {
                let count = &mut counts[id as usize];
                *count += 1;
                limits[id as usize] = limits[id as usize].max(*count);
            }
        }
        let mut take = |id: u32| {
            let left = &mut limits[id as usize];
            let some = *left > 0;
            *left -= u32::from(some);
            some
        };
        text.iter().filter(|&&id| take(id)).count() as u64
    }

    /// How many different n-grams the texts of this order have.
    pub(crate) fn distinct(&self) -> u64 {
        self.pairs.len() as u64
    }
}
