//! The plain draw: parts are consecutive pieces of the permutation.

use crate::numpy::permutation;

/// The records of each part. The sizes sum to `rows` at most.
pub(super) fn draw<const N: usize>(seed: u64, rows: usize, sizes: [usize; N]) -> [Vec<usize>; N] {
    let mut left = permutation(seed, rows).into_iter();
    sizes.map(|size| left.by_ref().take(size).collect())
}
