//! Dropout whose mask is a function of a key and an index: nothing is stored, the backward pass
//! forms the same mask again, and the result does not depend on threads or call order.

use rayon::prelude::*;

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

    /// Applies the mask in place.
    pub(crate) fn apply(&self, data: &mut [f32]) {
        const CHUNK: usize = 1 << 14;
        // A p of 1 drops all; the factor is then never used.
        let keep = if self.p < 1.0 {
            1.0 / (1.0 - self.p)
        } else {
            0.0
        };
        let threshold = (f64::from(self.p) * (1u64 << 32) as f64) as u64;
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

/// Element `index` of the `SplitMix64` stream that `key` names.
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
