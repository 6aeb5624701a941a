//! Dropout whose mask is a function of a key and an index: nothing is stored, the backward pass
//! forms the same mask again, and the result does not depend on threads or call order.

use rayon::prelude::*;

use crate::simd::{Kernel, Simd, dispatch};

/// Zeroes each element with probability `p` and scales the rest by `1 / (1 - p)`.
///
/// The decision for element `i` comes from a counter-based generator (`SplitMix64`, Steele et al.
/// 2014) at position `i` of the stream `key`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    p: f32,
    key: u64,
}

impl Dropout {
    /// `None` when `p` is zero: nothing would be dropped.
    pub fn new(p: f32, key: u64) -> Option<Self> {
        (p > 0.0).then(|| Self { p: p.min(1.0), key })
    }

    /// The stream of random numbers.
    #[cfg(feature = "kernels")]
    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    /// What kept elements are multiplied with. A p of 1 drops all; the factor is then never used.
    pub(crate) fn factor(&self) -> f32 {
        if self.p < 1.0 {
            1.0 / (1.0 - self.p)
        } else {
            0.0
        }
    }

    /// Random numbers of 32 bits below this drop their element.
    pub(crate) fn threshold(&self) -> u64 {
        (f64::from(self.p) * (1u64 << 32) as f64) as u64
    }

    /// Applies the mask in place.
    pub(crate) fn apply(&self, data: &mut [f32]) {
        let (keep, threshold) = (self.factor(), self.threshold());
        data.par_chunks_mut(CHUNK)
            .enumerate()
            .for_each(|(chunk, data)| {
                for (i, x) in data.iter_mut().enumerate() {
                    let index = (chunk * CHUNK + i) as u64;
                    let dropped = (mix(self.key, index) >> 32) < threshold;
                    *x = if dropped { 0.0 } else { *x * keep };
                }
            });
    }
}

/// Elements that one parallel task takes.
const CHUNK: usize = 1 << 14;

/// A mask that is applied more than once: one byte for each element, 1 where it is kept.
#[derive(Debug, Default)]
pub(crate) struct Mask {
    kept: Vec<u8>,
    factor: f32,
}

impl Mask {
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.kept.len()
    }

    /// The decisions of `dropout` for `len` elements. `None` keeps all, and [`Mask::of`] copies nothing.
    pub(crate) fn draw(&mut self, dropout: Option<Dropout>, len: usize) {
        let Some(dropout) = dropout else {
            self.kept.clear();
            return;
        };
        self.kept.resize(len, 0);
        self.factor = dropout.factor();
        let (key, threshold) = (dropout.key, dropout.threshold());
        self.kept
            .par_chunks_mut(CHUNK)
            .enumerate()
            .for_each(|(chunk, kept)| {
                dispatch(Draw {
                    kept,
                    key,
                    first: (chunk * CHUNK) as u64,
                    threshold,
                });
            });
    }

    /// `x` with the mask applied: `x` itself where nothing is dropped, else written to `buffer`.
    pub(crate) fn of<'a>(&self, x: &'a [f32], buffer: &'a mut Vec<f32>) -> &'a [f32] {
        if self.kept.is_empty() {
            return x;
        }
        if buffer.len() < x.len() {
            buffer.resize(x.len(), 0.0);
        }
        let to = &mut buffer[..x.len()];
        to.par_chunks_mut(CHUNK)
            .zip(x.par_chunks(CHUNK))
            .zip(self.kept.par_chunks(CHUNK))
            .for_each(|((to, x), kept)| {
                let factor = self.factor;
                dispatch(Apply {
                    x,
                    to,
                    kept,
                    factor,
                });
            });
        to
    }

    /// Applies the mask to `row`, whose first element has number `first`.
    pub(crate) fn apply_row(&self, first: usize, row: &mut [f32]) {
        if !self.kept.is_empty() {
            dispatch(ApplyInPlace {
                kept: &self.kept[first..][..row.len()],
                factor: self.factor,
                row,
            });
        }
    }
}

struct Draw<'a> {
    kept: &'a mut [u8],
    key: u64,
    first: u64,
    threshold: u64,
}

impl Kernel for Draw<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for (i, kept) in self.kept.iter_mut().enumerate() {
            *kept = u8::from((mix(self.key, self.first + i as u64) >> 32) >= self.threshold);
        }
    }
}

struct Apply<'a> {
    x: &'a [f32],
    to: &'a mut [f32],
    kept: &'a [u8],
    factor: f32,
}

impl Kernel for Apply<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for ((to, x), kept) in self.to.iter_mut().zip(self.x).zip(self.kept) {
            *to = if *kept == 0 { 0.0 } else { x * self.factor };
        }
    }
}

struct ApplyInPlace<'a> {
    row: &'a mut [f32],
    kept: &'a [u8],
    factor: f32,
}

impl Kernel for ApplyInPlace<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for (x, kept) in self.row.iter_mut().zip(self.kept) {
            *x = if *kept == 0 { 0.0 } else { *x * self.factor };
        }
    }
}

/// Element `index` of the `SplitMix64` stream that `key` names.
#[inline(always)]
pub(crate) fn mix(key: u64, index: u64) -> u64 {
    let mut z = key.wrapping_add((index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_the_stated_share_and_keeps_the_mean() {
        let mut data = vec![1f32; 100_000];
        Dropout::new(0.1, 7).unwrap().apply(&mut data);
        let dropped = data.iter().filter(|&&x| x == 0.0).count();
        assert!(
            (9_500..10_500).contains(&dropped),
            "{dropped} of 100,000 dropped at p = 0.1"
        );
        let mean = data.iter().sum::<f32>() / 1e5;
        assert!((mean - 1.0).abs() < 0.01, "mean {mean}");
    }

    #[test]
    fn a_drawn_mask_is_the_same_mask() {
        let x: Vec<f32> = (0..40_000).map(|i| i as f32 + 1.0).collect();
        for (p, key) in [(0.1, 3), (0.5, u64::MAX), (1.0, 9)] {
            let dropout = Dropout::new(p, key);
            let mut expected = x.clone();
            dropout.unwrap().apply(&mut expected);
            let (mut mask, mut buffer) = (Mask::default(), Vec::new());
            mask.draw(dropout, x.len());
            assert_eq!(mask.of(&x, &mut buffer), expected);
            let mut row = x[17_000..17_100].to_vec();
            mask.apply_row(17_000, &mut row);
            assert_eq!(row, expected[17_000..17_100]);
        }
    }

    #[test]
    fn the_mask_depends_on_key_and_index_alone() {
        let mask = |key, len| {
            let mut data = vec![1f32; len];
            Dropout::new(0.5, key).unwrap().apply(&mut data);
            data
        };
        assert_eq!(mask(1, 40_000)[..1000], mask(1, 1000)[..]);
        assert_ne!(mask(1, 1000), mask(2, 1000));
        assert_eq!(Dropout::new(0.0, 1), None);
    }
}
