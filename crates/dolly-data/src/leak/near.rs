//! Questions of nearly the same words.
//!
//! The similarity of two texts is the Jaccard index of their sets of word 5-grams. Comparing all
//! pairs would take forever, so candidates come from `MinHash` signatures in bands (A. Broder, "On
//! the resemblance and containment of documents", 1997; J. Leskovec, A. Rajaraman, J. Ullman, "Mining
//! of Massive Datasets", §3.4), and each candidate is then measured: what is reported is true, and
//! of pairs at the threshold at most one in a thousand is expected to be missed, far fewer above it.

use std::collections::HashMap;

/// Words in a shingle.
const WORDS: usize = 5;
/// Hashes in a signature.
const HASHES: usize = 64;
/// How likely a pair at the threshold shall become a candidate.
const RECALL: f64 = 0.999;

/// The distinct word 5-grams of a text as 64-bit hashes, ascending. A text of fewer words is one
/// shingle, so it is near only to a text of the very same words.
#[derive(Default)]
pub(super) struct Shingles(Vec<u64>);

impl Shingles {
    pub(super) fn of(words: &[u32]) -> Self {
        let width = WORDS.min(words.len()).max(1);
        let mut hashes: Vec<u64> = words.windows(width).map(hash).collect();
        hashes.sort_unstable();
        hashes.dedup();
        Self(hashes)
    }

    /// The Jaccard index of two sets; 0 where either is empty.
    pub(super) fn similarity(&self, other: &Self) -> f64 {
        let (mut a, mut b) = (self.0.as_slice(), other.0.as_slice());
        let mut shared = 0usize;
        while let ([x, after_a @ ..], [y, after_b @ ..]) = (a, b) {
            shared += usize::from(x == y);
            if x <= y {
                a = after_a;
            }
            if y <= x {
                b = after_b;
            }
        }
        let all = self.0.len() + other.0.len() - shared;
        if all == 0 {
            0.0
        } else {
            shared as f64 / all as f64
        }
    }

    /// For each of as many orders of all shingles, the first that is here.
    fn signature(&self) -> [u64; HASHES] {
        let mut factor = 0;
        let factors: [u64; HASHES] = std::array::from_fn(|_| {
            factor = scramble(factor);
            factor | 1
        });
        let mut least = [u64::MAX; HASHES];
        for &shingle in &self.0 {
            for (least, factor) in least.iter_mut().zip(&factors) {
                // An odd factor permutes the 64-bit numbers.
                *least = shingle.wrapping_mul(*factor).min(*least);
            }
        }
        least
    }
}

/// Mixes the bits of a number so that each depends on all (the finaliser of `SplitMix64`).
fn scramble(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A hash of a few words.
pub(super) fn hash(words: &[u32]) -> u64 {
    let step = |sum: u64, &word: &u32| scramble(sum ^ u64::from(word));
    words.iter().fold(words.len() as u64, step)
}

/// How signatures are cut into bands for a threshold: signatures that agree in a whole band make a
/// candidate.
#[derive(Clone, Copy)]
pub(super) struct Bands {
    rows: usize,
    threshold: f64,
}

impl Bands {
    pub(super) fn for_threshold(threshold: f64) -> Self {
        let threshold = if threshold.is_nan() {
            1.0
        } else {
            threshold.clamp(0.0, 1.0)
        };
        let found = |rows: &usize| {
            let missed = 1.0 - threshold.powi(*rows as i32);
            1.0 - missed.powi((HASHES / rows) as i32) >= RECALL
        };
        let rows = (1..=HASHES / 4).rev().find(found).unwrap_or(1);
        Self { rows, threshold }
    }

    /// The threshold within 0 to 1.
    pub(super) fn threshold(self) -> f64 {
        self.threshold
    }

    /// What must agree for a text to be a candidate; nothing for a text without words.
    pub(super) fn keys(self, shingles: &Shingles) -> Vec<u64> {
        if shingles.0.is_empty() {
            return Vec::new();
        }
        let signature = shingles.signature();
        let bands = signature.chunks_exact(self.rows).enumerate();
        bands
            .map(|(band, rows)| {
                let step = |sum: u64, &least: &u64| scramble(sum ^ least);
                rows.iter().fold(band as u64, step)
            })
            .collect()
    }
}

/// Texts by what must agree.
pub(super) fn buckets(
    texts: impl Iterator<Item = u32>,
    shingles: &[Shingles],
    bands: Bands,
) -> HashMap<u64, Vec<u32>> {
    let mut buckets: HashMap<u64, Vec<u32>> = HashMap::new();
    for text in texts {
        for key in bands.keys(&shingles[text as usize]) {
            buckets.entry(key).or_default().push(text);
        }
    }
    buckets
}

#[cfg(test)]
mod tests;
