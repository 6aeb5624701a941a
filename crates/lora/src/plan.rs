//! Which rows meet which update.

use chat_prompt::{Batches, Batching};

use crate::rng::Key;
use crate::settings::TrainConfig;

/// How rows are dealt into accumulation windows and micro-batches.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Tokens of each row.
    lengths: Vec<usize>,
    batch: usize,
    accumulation: usize,
    batching: Batching,
    shuffle: bool,
    seed: u64,
    /// Micro-batches in one pass over the rows.
    batches: usize,
}

/// One micro-batch: the rows that go through the model together.
pub(crate) type MicroBatch = Vec<usize>;

impl Plan {
    /// There must be a row, and the settings must have been checked.
    pub(crate) fn new(lengths: Vec<usize>, config: &TrainConfig) -> Self {
        let mut plan = Self {
            lengths,
            batch: config.batch_size,
            accumulation: config.accumulation,
            batching: config.batching,
            shuffle: config.shuffle,
            seed: config.seed,
            batches: 0,
        };
        plan.batches = plan.epoch(0).len();
        plan
    }

    /// Updates in one pass over the rows; the last one may see fewer rows.
    pub(crate) fn windows_per_epoch(&self) -> usize {
        self.batches.div_ceil(self.accumulation)
    }

    /// Updates in so many passes: `ceil(epochs * windows)`, as transformers counts.
    pub(crate) fn steps(&self, epochs: f64) -> usize {
        (epochs * self.windows_per_epoch() as f64).ceil() as usize
    }

    /// Epoch and window within it of update `index`, counted from 0 over all epochs.
    pub(crate) fn position(&self, index: usize) -> (usize, usize) {
        let windows = self.windows_per_epoch();
        (index / windows, index % windows)
    }

    /// The micro-batches of update `index`, counted from 0 over all epochs.
    pub(crate) fn window(&self, index: usize) -> Vec<MicroBatch> {
        let (epoch, window) = self.position(index);
        let first = window * self.accumulation;
        let batches = self.epoch(epoch).into_iter();
        batches.skip(first).take(self.accumulation).collect()
    }

    /// The micro-batches of one pass over the rows, in order.
    pub(crate) fn epoch(&self, epoch: usize) -> Vec<MicroBatch> {
        let rows = self.lengths.len();
        let order = match self.batching {
            Batching::Shuffled if self.shuffle => {
                let key = Key::new(self.seed).name("order").number(epoch as u64);
                key.permutation(rows)
            }
            Batching::Shuffled => (0..rows).collect(),
            batching => {
                let (lengths, seed) = (&self.lengths, self.seed);
                return Batches::new(lengths, self.batch, batching, seed, epoch as u64).collect();
            }
        };
        order.chunks(self.batch).map(<[usize]>::to_vec).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plan(rows: usize, batch_size: usize, accumulation: usize, shuffle: bool, seed: u64) -> Plan {
        let config = TrainConfig {
            batch_size,
            accumulation,
            shuffle,
            seed,
            ..TrainConfig::default()
        };
        Plan::new(vec![1; rows], &config)
    }

    #[test]
    fn a_short_last_window_counts() {
        let plan = plan(10, 2, 2, false, 0);
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
        let plan = plan(3, 1, usize::MAX, false, 0);
        assert_eq!((plan.windows_per_epoch(), plan.window(0).len()), (1, 3));
    }

    #[test]
    fn epochs_are_shuffled_each_in_its_own_way() {
        let five = plan(100, 100, 1, true, 5);
        assert_ne!(five.window(0), five.window(1));
        assert_ne!(five.window(0), plan(100, 100, 1, true, 6).window(0));
    }

    proptest! {
        #[test]
        fn every_epoch_sees_every_row_once(
            lengths in prop::collection::vec(1usize..90, 1..50), batch_size in 1usize..5,
            accumulation in 1usize..5, seed in any::<u64>(), kind in 0..3,
        ) {
            let batching = match kind {
                0 => Batching::Shuffled,
                1 => Batching::Bucketed,
                _ => Batching::Packed { max_tokens: 100 },
            };
            let rows = lengths.len();
            let config =
                TrainConfig { batch_size, accumulation, batching, seed, ..TrainConfig::default() };
            let plan = Plan::new(lengths, &config);
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
