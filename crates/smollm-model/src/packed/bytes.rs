//! Keys and values in 8 bits, widened to bf16 tiles where attention reads them.
//!
//! A key or value of one head is levels from −127 to 127 and one scale, as a row of ggml's `Q8_0` but as long as the head.
//! Levels lie where bf16 values would: widening is one pass over memory in order.

// A kernel's body must be compiled with the instructions of the level that `simd::dispatch` chose, so
// it has to be inlined into it.
#![allow(clippy::inline_always)]

use super::cache::{KEYS, STEP, Shape, TILE};
use crate::ops::math::to_bf16;
use crate::simd::{Kernel, Simd};

/// What a level of one key and of one value is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Scales {
    pub(super) key: f32,
    pub(super) value: f32,
}

/// The scale under which the largest magnitude is 127; a NaN or an infinity gives a scale that makes everything one.
pub(super) fn scale_of(x: &[f32]) -> f32 {
    let magnitude = |x: &f32| x.to_bits() & 0x7fff_ffff;
    let largest = f32::from_bits(x.iter().map(magnitude).max().unwrap_or(0)) / 127.0;
    if largest < f32::MIN_POSITIVE {
        0.0
    } else {
        largest
    }
}

/// The level nearest to `x`.
pub(super) fn level(x: f32, scale: f32) -> i8 {
    // Saturates, and a NaN becomes 0: its scale carries it on.
    if scale == 0.0 {
        0
    } else {
        (x / scale).round() as i8
    }
}

/// Widens the keys and the values of one head.
pub(super) struct Widen<'a> {
    pub(super) shape: Shape,
    pub(super) head: usize,
    /// All heads' levels, as [`super::cache::LayerCache`] lays them out.
    pub(super) keys: &'a [i8],
    pub(super) values: &'a [i8],
    /// `[tokens, heads]`
    pub(super) scales: &'a [Scales],
    /// `[block][tile]`
    pub(super) wide_keys: &'a mut [u16],
    /// `[step][tile]`
    pub(super) wide_values: &'a mut [u16],
}

impl Kernel for Widen<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Shape { heads, .. } = self.shape;
        let scale = |token: usize| self.scales[token * heads + self.head];
        let size = self.shape.key_tiles() * TILE;
        let blocks = self.keys.chunks_exact(self.shape.key_stride());
        for (block, (from, to)) in blocks
            .zip(self.wide_keys.chunks_exact_mut(size))
            .enumerate()
        {
            let mut scales = [0f32; 2 * KEYS];
            for (i, to) in scales.iter_mut().enumerate() {
                *to = scale(block * KEYS + i / 2).key;
            }
            let from = &from[self.head * size..][..size];
            for (from, to) in from.chunks_exact(32).zip(to.chunks_exact_mut(32)) {
                widen(from, &scales, to);
            }
        }
        let size = self.shape.value_tiles() * TILE;
        let steps = self.values.chunks_exact(self.shape.value_stride());
        for (step, (from, to)) in steps
            .zip(self.wide_values.chunks_exact_mut(size))
            .enumerate()
        {
            let from = &from[self.head * size..][..size];
            for pair in 0..STEP / 2 {
                let mut scales = [0f32; 32];
                for (i, to) in scales.iter_mut().enumerate() {
                    *to = scale(step * STEP + 2 * pair + i % 2).value;
                }
                let tiles = from.chunks_exact(TILE).zip(to.chunks_exact_mut(TILE));
                for (from, to) in tiles {
                    widen(&from[pair * 32..], &scales, &mut to[pair * 32..]);
                }
            }
        }
    }
}

#[inline(always)]
fn widen(levels: &[i8], scales: &[f32; 32], to: &mut [u16]) {
    for ((to, level), scale) in to.iter_mut().zip(levels).zip(scales) {
        *to = to_bf16(f32::from(*level) * scale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_magnitude_has_the_last_level() {
        let x = [0.5, -2.0, 1.0];
        let scale = scale_of(&x);
        assert_eq!(x.map(|x| level(x, scale)), [32, -127, 64]);
        assert_eq!((scale_of(&[0.0, -0.0]), level(0.0, 0.0)), (0.0, 0));
        assert!(scale_of(&[1.0, f32::NAN]).is_nan());
    }
}
