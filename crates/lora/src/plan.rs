//! Which rows meet which update.

use crate::rng::Key;
use std::ops::Range;

/// How rows are dealt into accumulation windows and micro-batches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    rows: usize,
    batch: usize,
    window: usize,
    shuffle: bool,
    seed: u64,
}

/// One micro-batch: the rows that go through the model together.
pub(crate) type MicroBatch = Vec<usize>;

impl Plan {
    /// `rows` must not be 0; `batch` and `accumulation` neither.
    pub(crate) fn new(
        rows: usize,
        batch: usize,
        accumulation: usize,
        shuffle: bool,
        seed: u64,
    ) -> Self {
        let window = batch.saturating_mul(accumulation).min(rows);
        Self {
            rows,
            batch,
            window,
            shuffle,
            seed,
        }
    }

    /// Updates in one pass over the rows; the last one may see fewer rows.
    pub(crate) fn windows_per_epoch(&self) -> usize {
        self.rows.div_ceil(self.window)
    }

    /// Updates in so many passes: `ceil(epochs * windows)`, as transformers counts.
    pub(crate) fn steps(&self, epochs: f64) -> usize {
        (epochs * self.windows_per_epoch() as f64).ceil() as usize
    }

    /// The micro-batches of update `index`, counted from 0 over all epochs.
    pub(crate) fn window(&self, index: usize) -> Vec<MicroBatch> {
        let epoch = index / self.windows_per_epoch();
        let start = (index % self.windows_per_epoch()) * self.window;
        let rows = start..(start + self.window).min(self.rows);
        let rows = self.order(epoch, rows);
        rows.chunks(self.batch).map(<[usize]>::to_vec).collect()
    }

    fn order(&self, epoch: usize, places: Range<usize>) -> Vec<usize> {
        if self.shuffle {
            let key = Key::new(self.seed).name("order").number(epoch as u64);
            key.permutation(self.rows)[places].to_vec()
        } else {
            places.collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_short_last_window_counts() {
        let plan = Plan::new(10, 2, 2, false, 0);
        assert_eq!(plan.windows_per_epoch(), 3);
        assert_eq!(plan.window(0), [[0, 1], [2, 3]]);
        assert_eq!(plan.window(2), [[8, 9]]);
        assert_eq!(plan.window(3), plan.window(0));
        assert_eq!(
            (plan.steps(1.0), plan.steps(0.5), plan.steps(2.1)),
            (3, 2, 7)
        );
    }

    #[test]
    fn a_window_larger_than_the_data_is_the_data() {
        let plan = Plan::new(3, 1, usize::MAX, false, 0);
        assert_eq!((plan.windows_per_epoch(), plan.window(0).len()), (1, 3));
    }

    #[test]
    fn epochs_are_shuffled_each_in_its_own_way() {
        let plan = Plan::new(100, 100, 1, true, 5);
        assert_ne!(plan.window(0), plan.window(1));
        assert_ne!(plan.window(0), Plan::new(100, 100, 1, true, 6).window(0));
    }

    proptest! {
        #[test]
        fn every_epoch_sees_every_row_once(
            rows in 1usize..50, batch in 1usize..5, accumulation in 1usize..5, seed in any::<u64>(),
        ) {
            let plan = Plan::new(rows, batch, accumulation, true, seed);
            let windows = plan.windows_per_epoch();
            for epoch in 0..2 {
                let epoch = epoch * windows..(epoch + 1) * windows;
                let mut seen: Vec<usize> = epoch.flat_map(|w| plan.window(w)).flatten().collect();
                seen.sort_unstable();
                prop_assert_eq!(seen, (0..rows).collect::<Vec<_>>());
            }
        }
    }
}
