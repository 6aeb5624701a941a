//! Factors that are drawn.

use super::Place;
use crate::adapter::Pair;
use crate::error::LoraError;
use crate::names::Factor;
use faer::Mat;

/// PEFT's default: A uniform in `±1/sqrt(in)`, B zero.
pub(super) fn kaiming(place: Place, seed: u64) -> Result<Pair, LoraError> {
    let key = place.key(Factor::A, seed);
    let bound = 1.0 / (place.inputs as f64).sqrt();
    let count = (place.shape.rank * place.inputs) as u64;
    place.with_a((0..count).map(|i| key.uniform(i, bound)).collect())
}

/// PEFT's start of an embedding: A zero, B normal with deviation 1, as `nn.Embedding` starts.
pub(super) fn embedding(place: Place, seed: u64) -> Result<Pair, LoraError> {
    let key = place.key(Factor::B, seed);
    let rank = place.shape.rank;
    place.pair(|_, _| 0.0, |i, r| key.normal((i * rank + r) as u64))
}

/// `normal_(std = 1/r)` for A, B zero.
pub(super) fn gaussian(place: Place, seed: u64) -> Result<Pair, LoraError> {
    let key = place.key(Factor::A, seed);
    let deviation = 1.0 / place.shape.rank as f64;
    let count = (place.shape.rank * place.inputs) as u64;
    let draw = |i| (deviation * key.normal(i)) as f32;
    place.with_a((0..count).map(draw).collect())
}

/// For an even rank, `A = (N₁ Q_odd)ᵀ / 10`, `B = N₂ Q_even / 10` for normal `N₁: [in, r/2]`, `N₂: [out, r/2]` and the rows of an orthogonal
/// `Q: [r, r]`, the first of which PEFT calls odd: `B A = N₂ Q_even Q_oddᵀ N₁ᵀ / 100 = 0`.
pub(super) fn orthogonal(place: Place, seed: u64) -> Result<Pair, LoraError> {
    let rank = place.shape.rank;
    let half = rank / 2;
    let (of_a, of_b) = (place.key(Factor::A, seed), place.key(Factor::B, seed));
    let square = of_a.name("orthogonal");
    let square = Mat::from_fn(rank, rank, |i, j| square.normal((i * rank + j) as u64));
    let q = square.qr().compute_thin_Q();
    let odd = Mat::from_fn(half, rank, |i, j| q[(2 * i, j)]);
    let even = Mat::from_fn(half, rank, |i, j| q[(2 * i + 1, j)]);
    let a = Mat::from_fn(place.inputs, half, |i, j| {
        of_a.normal((i * half + j) as u64)
    }) * odd;
    let b = Mat::from_fn(place.out, half, |i, j| of_b.normal((i * half + j) as u64)) * even;
    place.pair(|i, j| a[(j, i)] / 10.0, |i, j| b[(i, j)] / 10.0)
}
