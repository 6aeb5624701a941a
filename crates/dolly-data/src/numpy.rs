//! `numpy.random.default_rng(seed).permutation(n)`, bit for bit.
//!
//! Three pieces, each a transcription of what NumPy does: [`seed_sequence`] turns an integer into
//! state words, [`pcg64`] is the generator, and [`permutation`] is `Generator.shuffle` over
//! `arange(n)`. `tests/golden/permutations.json` holds what NumPy itself gave.

mod pcg64;
mod seed_sequence;

use pcg64::Pcg64;

/// The order that `numpy.random.default_rng(seed).permutation(n)` gives: a Fisher–Yates shuffle of
/// `0..n` from the end, each index drawn by masking and rejection.
///
/// `datasets.Dataset.shuffle(seed)` uses the same call, so a split taken from this order is the
/// split that scripts built on `datasets` publish.
///
/// ```
/// // >>> numpy.random.default_rng(42).permutation(10)
/// assert_eq!(dolly_data::permutation(42, 10), [5, 6, 0, 7, 3, 2, 4, 9, 1, 8]);
/// ```
pub fn permutation(seed: u64, n: usize) -> Vec<usize> {
    let mut rng = Pcg64::new(seed);
    let mut order: Vec<usize> = (0..n).collect();
    for last in (1..n).rev() {
        let chosen = rng.at_most(last as u64) as usize;
        order.swap(last, chosen);
    }
    order
}
