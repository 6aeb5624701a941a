//! Which rows go through the model together.
//!
//! Rows are dealt anew each epoch, from the seed and the epoch's number alone: the same on every
//! machine and in every process, so that each can work out its own share.
//!
//! Nothing here pads, and nothing joins rows into one. A batch names whole rows; the model
//! (`smollm_model::Ragged`) lays them end to end, counts positions from 0 in each, and lets no token
//! see another row's: attention is block-diagonal, so a row's result is that of the row alone.

mod pack;
mod random;

use std::iter::FusedIterator;
use std::vec;

use pack::first_fit_decreasing;
use random::Random;

/// Batches in a window of [`Batching::Bucketed`]: rows are sorted by length within one.
const WINDOW: usize = 50;

/// How rows are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Batching {
    /// In random order, so many at a time.
    #[default]
    Shuffled,
    /// Rows of about the same length together, so many at a time: rows in random order are cut into
    /// windows of 50 batches, each window is sorted by length and cut into batches, and the batches
    /// are shuffled. Each row's companions change from epoch to epoch.
    Bucketed,
    /// As many rows as fit, by first-fit-decreasing: the longest row first, each into the first batch
    /// with room for it; then the batches are shuffled. It needs at most 11/9 of the fewest batches
    /// possible, and one more. Rows of one length are dealt in random order.
    Packed {
        /// Tokens in a batch. A row that is longer makes a batch of its own.
        max_tokens: usize,
    },
}

/// The batches of one epoch: each item lists the rows, by index, that go through the model together.
///
/// Every row occurs exactly once over all batches, and once over all shards.
///
/// ```
/// use chat_prompt::{Batches, Batching};
///
/// let lengths = [900, 100, 400, 600];
/// let packed = Batching::Packed { max_tokens: 1000 };
/// let mut batches: Vec<Vec<usize>> = Batches::new(&lengths, 1, packed, 42, 0).collect();
/// batches.sort();
/// assert_eq!(batches, [[0, 1], [3, 2]]);
/// ```
#[derive(Debug, Clone)]
pub struct Batches {
    batches: vec::IntoIter<Vec<usize>>,
}

impl Batches {
    /// Deals rows of these lengths (in tokens). `batch_size` is the number of rows in a batch, the
    /// last of which may be smaller (0 counts as 1); [`Batching::Packed`] goes by tokens alone.
    ///
    /// Takes `O(n log n)` time.
    pub fn new(
        lengths: &[usize],
        batch_size: usize,
        batching: Batching,
        seed: u64,
        epoch: u64,
    ) -> Self {
        let batch_size = batch_size.max(1);
        let mut random = Random::new(seed, epoch);
        let mut order: Vec<usize> = (0..lengths.len()).collect();
        random.shuffle(&mut order);
        let length = |row: usize| lengths.get(row).copied().unwrap_or_default();
        let batches = match batching {
            Batching::Shuffled => chunks(&order, batch_size),
            Batching::Bucketed => {
                for window in order.chunks_mut(batch_size.saturating_mul(WINDOW)) {
                    window.sort_by_key(|&row| length(row));
                }
                let mut batches = chunks(&order, batch_size);
                random.shuffle(&mut batches);
                batches
            }
            Batching::Packed { max_tokens } => {
                let mut batches = first_fit_decreasing(order, length, max_tokens);
                random.shuffle(&mut batches);
                batches
            }
        };
        Self {
            batches: batches.into_iter(),
        }
    }

    /// The share of process `rank` out of `world`: of what is left, every `world`-th batch from the
    /// `rank`-th on.
    ///
    /// All shards have equally many batches, so that processes that reduce after each batch stay
    /// together: where the number does not divide, the shards that come short end with an *empty*
    /// batch, which adds nothing. A `rank` that is not below `world` gets empty batches alone.
    #[must_use]
    pub fn shard(self, rank: usize, world: usize) -> Self {
        let world = world.max(1);
        let each = self.batches.len().div_ceil(world);
        let mut own = Vec::new();
        if rank < world {
            own.extend(self.batches.skip(rank).step_by(world));
        }
        own.resize(each, Vec::new());
        Self {
            batches: own.into_iter(),
        }
    }
}

fn chunks(order: &[usize], size: usize) -> Vec<Vec<usize>> {
    order.chunks(size).map(<[usize]>::to_vec).collect()
}

impl Iterator for Batches {
    type Item = Vec<usize>;

    fn next(&mut self) -> Option<Vec<usize>> {
        self.batches.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.batches.size_hint()
    }
}

impl ExactSizeIterator for Batches {}
impl FusedIterator for Batches {}
