//! Which rows go through the model together: each once, within bounds, the same everywhere.

use chat_prompt::{Batches, Batching};
use proptest::prelude::*;

const KINDS: [Batching; 3] = [
    Batching::Shuffled,
    Batching::Bucketed,
    Batching::Packed { max_tokens: 300 },
];

fn lengths(rows: usize) -> Vec<usize> {
    (0..rows).map(|row| 10 + row * 7919 % 251).collect()
}

fn sorted(batches: impl IntoIterator<Item = Vec<usize>>) -> Vec<usize> {
    let mut rows: Vec<usize> = batches.into_iter().flatten().collect();
    rows.sort_unstable();
    rows
}

/// The order is part of what a run's record says, so it may not change from version to version. These
/// orders come from the description, followed in another language.
#[test]
fn the_order_is_fixed() {
    let lengths = [5, 3, 9, 1, 7, 4, 8];
    let all = |batching| Batches::new(&lengths, 2, batching, 42, 1).collect::<Vec<_>>();
    let shuffled = [vec![3, 6], vec![4, 0], vec![2, 5], vec![1]];
    assert_eq!(all(Batching::Shuffled), shuffled);
    let bucketed = [vec![4, 6], vec![2], vec![3, 1], vec![5, 0]];
    assert_eq!(all(Batching::Bucketed), bucketed);
    let packed = [vec![4, 1], vec![0, 5], vec![2, 3], vec![6]];
    assert_eq!(all(Batching::Packed { max_tokens: 10 }), packed);
}

#[test]
fn seed_and_epoch_decide() {
    let lengths = lengths(200);
    for kind in KINDS {
        let deal = |seed, epoch| Batches::new(&lengths, 4, kind, seed, epoch).collect::<Vec<_>>();
        assert_eq!(deal(1, 0), deal(1, 0));
        assert_ne!(deal(1, 0), deal(1, 1), "{kind:?}");
        assert_ne!(deal(1, 2), deal(2, 1), "{kind:?}");
    }
}

/// Bucketing is there to put like with like.
#[test]
fn buckets_hold_rows_of_one_length() {
    let lengths = lengths(2000);
    let spread = |kind| {
        let batches = Batches::new(&lengths, 8, kind, 3, 0);
        let spread = |batch: Vec<usize>| {
            let of = batch.iter().map(|&row| lengths[row]);
            of.clone().max().unwrap() - of.min().unwrap()
        };
        batches.map(spread).sum::<usize>()
    };
    assert!(20 * spread(Batching::Bucketed) < spread(Batching::Shuffled));
}

#[test]
fn rows_that_fit_nowhere_and_no_rows_at_all() {
    let packed = Batching::Packed { max_tokens: 10 };
    let mut batches: Vec<_> = Batches::new(&[50, 4, 11, 6], 1, packed, 0, 0).collect();
    batches.sort();
    assert_eq!(batches, [vec![0], vec![2], vec![3, 1]]);
    for kind in KINDS {
        assert_eq!(Batches::new(&[], 4, kind, 0, 0).len(), 0);
        assert_eq!(Batches::new(&[], 4, kind, 0, 0).shard(0, 3).len(), 0);
        assert_eq!(
            Batches::new(&[1; 5], 0, kind, 0, 0)
                .shard(7, 2)
                .flatten()
                .count(),
            0
        );
    }
    let none = Batching::Packed { max_tokens: 0 };
    assert_eq!(Batches::new(&[3, 1, 2], 1, none, 0, 0).len(), 3);
}

/// 15,000 rows are dealt in well under the time of a training step.
#[test]
fn packing_wastes_little() {
    let lengths = lengths(15_000);
    let packed = Batching::Packed { max_tokens: 1024 };
    let tokens: usize = lengths.iter().sum();
    let batches = Batches::new(&lengths, 1, packed, 42, 0).len();
    assert!(
        batches <= tokens.div_ceil(1024) + 2,
        "{batches} for {tokens}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn each_row_once(
        lengths in prop::collection::vec(1usize..400, 0..120),
        size in 1usize..9, seed: u64, epoch in 0u64..4, world in 1usize..6,
    ) {
        let every: Vec<usize> = (0..lengths.len()).collect();
        for kind in KINDS {
            let whole = Batches::new(&lengths, size, kind, seed, epoch);
            let each = whole.len().div_ceil(world);
            for batch in whole.clone() {
                let tokens: usize = batch.iter().map(|&row| lengths[row]).sum();
                prop_assert!(!batch.is_empty());
                match kind {
                    Batching::Packed { max_tokens } => {
                        prop_assert!(tokens <= max_tokens || batch.len() == 1);
                    }
                    _ => prop_assert!(batch.len() <= size),
                }
            }
            if !matches!(kind, Batching::Packed { .. }) {
                prop_assert_eq!(whole.len(), lengths.len().div_ceil(size));
            }
            let shards: Vec<Batches> = (0..world).map(|rank| whole.clone().shard(rank, world)).collect();
            prop_assert!(shards.iter().all(|shard| shard.len() == each));
            prop_assert_eq!(sorted(shards.into_iter().flatten()), every.clone());
            prop_assert_eq!(sorted(whole), every.clone());
        }
    }
}
