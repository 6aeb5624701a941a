//! Runs of `n` neighbouring tokens that two texts share.

/// Counts shared runs; keeps its buffers from one pair to the next.
#[derive(Default)]
pub(super) struct Ngrams {
    packed: [Vec<u64>; 2],
    places: [Vec<usize>; 2],
}

impl Ngrams {
    /// The size of the multiset intersection of both texts' runs of `n` tokens, for `n` of at least 1.
    pub(super) fn common(&mut self, n: usize, gold: &[u32], prediction: &[u32]) -> usize {
        if n == 2 {
            self.common_pairs(gold, prediction)
        } else {
            self.common_runs(n, gold, prediction)
        }
    }

    /// Pairs fit into one number each, which sorts several times faster than slices.
    fn common_pairs(&mut self, gold: &[u32], prediction: &[u32]) -> usize {
        for (packed, ids) in self.packed.iter_mut().zip([gold, prediction]) {
            let pair = |w: &[u32]| u64::from(w[0]) << 32 | u64::from(w[1]);
            packed.clear();
            packed.extend(ids.windows(2).map(pair));
            packed.sort_unstable();
        }
        let [gold, prediction] = &self.packed;
        merge_count(gold, prediction, u64::cmp)
    }

    fn common_runs(&mut self, n: usize, gold: &[u32], prediction: &[u32]) -> usize {
        for (places, ids) in self.places.iter_mut().zip([gold, prediction]) {
            places.clear();
            places.extend(0..runs(ids.len(), n));
            places.sort_unstable_by(|&a, &b| ids[a..a + n].cmp(&ids[b..b + n]));
        }
        let [in_gold, in_prediction] = &self.places;
        merge_count(in_gold, in_prediction, |&a, &b| {
            gold[a..a + n].cmp(&prediction[b..b + n])
        })
    }
}

/// How many runs of `n` a text of `tokens` tokens has.
pub(super) fn runs(tokens: usize, n: usize) -> usize {
    (tokens + 1).saturating_sub(n)
}

/// How many entries two sorted lists share, each counted as often as both have it.
fn merge_count<T>(a: &[T], b: &[T], cmp: impl Fn(&T, &T) -> std::cmp::Ordering) -> usize {
    let (mut i, mut j, mut common) = (0, 0, 0);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        let order = cmp(x, y);
        common += usize::from(order.is_eq());
        i += usize::from(order.is_le());
        j += usize::from(order.is_ge());
    }
    common
}

#[cfg(test)]
mod tests {
    use super::{Ngrams, runs};

    #[test]
    fn counts_each_run_as_often_as_both_have_it() {
        let (gold, prediction) = ([1, 2, 1, 2, 1, 2], [1, 2, 1, 2, 9, 1, 2]);
        let mut ngrams = Ngrams::default();
        let common = |n| ngrams.common(n, &gold, &prediction);
        assert_eq!([1, 2, 3, 4, 5].map(common), [6, 4, 2, 1, 0]);
    }

    #[test]
    fn a_short_text_has_no_long_run() {
        assert_eq!(runs(3, 3), 1);
        assert_eq!(runs(3, 4), 0);
        assert_eq!(runs(0, 9), 0);
        assert_eq!(Ngrams::default().common(9, &[1; 8], &[1; 20]), 0);
    }
}
