//! Longest common subsequences, 64 cells of the table at a time.
//!
//! A column of the LCS table grows by 0 or 1 from one cell to the next, so it is a bit vector, and
//! the next column follows from it by one addition (Hyyrö, "Bit-parallel LCS-length computation
//! revisited", 2004). The bits run over the reference, the columns over the candidate; a bit is
//! **clear** where the column grows.

/// Scratch memory for LCS, used again for each pair of sentences.
#[derive(Default)]
pub(super) struct Lcs {
    /// For each row-local token: where it stands in the reference. Token 0 stands nowhere.
    masks: Vec<u64>,
    /// Token id → row-local token; 0 when it is not in the reference.
    local: Vec<u32>,
    /// The reference that `masks` describes.
    reference: Vec<u32>,
    /// Words a column.
    width: usize,
    column: Vec<u64>,
    history: Vec<u64>,
}

impl Lcs {
    /// Sets the reference sentence; all ids are below `ids`.
    pub(super) fn set_reference(&mut self, reference: &[u32], ids: usize) {
        for &t in &self.reference {
            self.local[t as usize] = 0;
        }
        if self.local.len() < ids {
            self.local.resize(ids, 0);
        }
        self.reference.clear();
        self.reference.extend_from_slice(reference);
        self.width = reference.len().div_ceil(64);
        self.masks.clear();
        self.masks.resize(self.width, 0);
        let mut known = 0;
        for (at, &t) in reference.iter().enumerate() {
            let local = &mut self.local[t as usize];
            if *local == 0 {
                known += 1;
                *local = known;
                self.masks.resize(self.masks.len() + self.width, 0);
            }
            self.masks[*local as usize * self.width + at / 64] |= 1 << (at % 64);
        }
    }

    /// The length of the longest common subsequence of the reference and `candidate`.
    pub(super) fn length(&mut self, candidate: &[u32]) -> usize {
        if self.width == 1 {
            let column = candidate.iter().fold(u64::MAX, |column, &t| {
                let mask = self.masks[self.local[t as usize] as usize];
                column.wrapping_add(column & mask) | (column & !mask)
            });
            return column.count_zeros() as usize;
        }
        self.start();
        for &t in candidate {
            self.step(t);
        }
        self.column.iter().map(|w| w.count_zeros() as usize).sum()
    }

    /// Adds to `union` (bits over the reference) one longest common subsequence with `candidate`.
    ///
    /// Which one matters for `rougeLsum`, so this walks back as `rouge_score` does: a match is
    /// taken; else left where the cell to the left is larger than the one above, that is where the
    /// column grows here; else up. All the "up" of a column is one search for the highest bit.
    pub(super) fn union_into(&mut self, candidate: &[u32], union: &mut [u64]) {
        self.start();
        self.history.clear();
        for &t in candidate {
            self.step(t);
            self.history.extend_from_slice(&self.column);
        }
        let mut rows = self.reference.len();
        for (j, &t) in candidate.iter().enumerate().rev() {
            let mask = self.mask(t);
            let grown = &self.history[j * self.width..][..self.width];
            let Some(row) = highest_below(rows, |w| mask[w] | !grown[w]) else {
                return;
            };
            let (word, bit) = (row / 64, 1 << (row % 64));
            if mask[word] & bit == 0 {
                rows = row + 1;
            } else {
                union[word] |= bit;
                rows = row;
            }
        }
    }

    /// Words a bit vector over the reference needs.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    fn mask(&self, token: u32) -> &[u64] {
        &self.masks[self.local[token as usize] as usize * self.width..][..self.width]
    }

    fn start(&mut self) {
        self.column.clear();
        self.column.resize(self.width, u64::MAX);
    }

    /// From one column to the next.
    fn step(&mut self, token: u32) {
        let from = self.local[token as usize] as usize * self.width;
        let mut carry = false;
        for (cell, &mask) in self
            .column
            .iter_mut()
            .zip(&self.masks[from..from + self.width])
        {
            let sum;
            (sum, carry) = cell.carrying_add(*cell & mask, carry);
            *cell = sum | (*cell & !mask);
        }
    }
}

/// The highest set bit under `end` in the bit vector whose words `word` gives.
fn highest_below(end: usize, word: impl Fn(usize) -> u64) -> Option<usize> {
    (0..end.div_ceil(64)).rev().find_map(|w| {
        let below = end - w * 64;
        let bits = if below < 64 {
            word(w) & ((1 << below) - 1)
        } else {
            word(w)
        };
        (bits != 0).then(|| w * 64 + 63 - bits.leading_zeros() as usize)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The table and the walk of `rouge_score`, as they are written there.
    fn plain(reference: &[u32], candidate: &[u32]) -> (usize, Vec<usize>) {
        let (rows, cols) = (reference.len(), candidate.len());
        let mut t = vec![vec![0; cols + 1]; rows + 1];
        for i in 1..=rows {
            for j in 1..=cols {
                t[i][j] = if reference[i - 1] == candidate[j - 1] {
                    t[i - 1][j - 1] + 1
                } else {
                    t[i - 1][j].max(t[i][j - 1])
                };
            }
        }
        let (mut i, mut j, mut picked) = (rows, cols, Vec::new());
        while i > 0 && j > 0 {
            if reference[i - 1] == candidate[j - 1] {
                picked.push(i - 1);
                i -= 1;
                j -= 1;
            } else if t[i][j - 1] > t[i - 1][j] {
                j -= 1;
            } else {
                i -= 1;
            }
        }
        picked.reverse();
        (t[rows][cols], picked)
    }

    fn check(lcs: &mut Lcs, reference: &[u32], candidate: &[u32]) {
        lcs.set_reference(reference, 100);
        let mut union = vec![0; lcs.width()];
        lcs.union_into(candidate, &mut union);
        let picked: Vec<usize> = (0..reference.len())
            .filter(|&i| union[i / 64] >> (i % 64) & 1 == 1)
            .collect();
        assert_eq!((lcs.length(candidate), picked), plain(reference, candidate));
    }

    proptest! {
        #[test]
        fn agrees_with_the_plain_table(
            pairs in prop::collection::vec(
                (1u32..40).prop_flat_map(|n| (
                    prop::collection::vec(0..n, 0..200),
                    prop::collection::vec(0..n, 0..200),
                )),
                1..4,
            ),
        ) {
            let mut lcs = Lcs::default();
            for (a, b) in &pairs {
                check(&mut lcs, a, b);
                check(&mut lcs, b, a);
            }
        }
    }

    #[test]
    fn whole_words_of_64() {
        let long: Vec<u32> = (0..128).map(|i| i % 7).collect();
        for n in [63, 64, 65, 127, 128] {
            check(&mut Lcs::default(), &long[..n], &long[3..]);
        }
    }
}
