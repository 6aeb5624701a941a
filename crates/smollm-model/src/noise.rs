//! Noise on the embeddings of a batch that is trained on.

use crate::ops::mix;
use std::sync::Arc;

/// Uniform noise on embeddings, as NEFTune (Jain et al. 2023) adds it while training.
///
/// A number follows from the key, its sequence's place in the batch, the token's position in the sequence and the column,
/// and nothing else: every engine adds the same, whatever the number of threads.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbeddingNoise {
    key: u64,
    bounds: Arc<[f32]>,
}

impl EmbeddingNoise {
    /// Noise in `(-bounds[i], bounds[i])` for sequence `i` of a batch; another `key`, other noise.
    pub fn new(key: u64, bounds: Vec<f32>) -> Self {
        Self {
            key,
            bounds: bounds.into(),
        }
    }

    /// Of how many sequences.
    pub(crate) fn sequences(&self) -> usize {
        self.bounds.len()
    }

    /// Adds the noise of one token to its embedding `[hidden]`.
    pub(crate) fn add(&self, sequence: usize, position: usize, row: &mut [f32]) {
        let key = mix(mix(self.key, sequence as u64), position as u64);
        let bound = f64::from(self.bounds[sequence]);
        for (column, x) in row.iter_mut().enumerate() {
            *x += (bound * unit(mix(key, column as u64))) as f32;
        }
    }
}

/// Uniform in `(-1, 1)`, symmetric, neither end included.
fn unit(bits: u64) -> f64 {
    // The middle of one of 2^52 equal parts: exact in f64.
    let part = (bits >> 12) as f64 + 0.5;
    part / (1u64 << 51) as f64 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: usize = 4096;

    fn row(noise: &EmbeddingNoise, sequence: usize, position: usize) -> Vec<f64> {
        let mut row = vec![0f32; COLUMNS];
        noise.add(sequence, position, &mut row);
        row.into_iter().map(f64::from).collect()
    }

    fn correlation(a: &[f64], b: &[f64]) -> f64 {
        let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        product(a, b) / (product(a, a) * product(b, b)).sqrt()
    }

    #[test]
    fn it_is_uniform_within_its_sequences_bound() {
        let noise = EmbeddingNoise::new(7, vec![0.5, 0.01]);
        for (sequence, bound) in [(0, 0.5), (1, 0.01)] {
            let draws: Vec<f64> = (0..16).flat_map(|at| row(&noise, sequence, at)).collect();
            let count = draws.len() as f64;
            let largest = draws.iter().fold(0f64, |m, x| m.max(x.abs()));
            assert!(largest <= bound * (1.0 + 1e-6) && largest > 0.999 * bound);
            let mean = draws.iter().sum::<f64>() / count / bound;
            assert!(mean.abs() < 4.0 * (3.0 * count).sqrt().recip(), "{mean}");
            // Moments of the uniform distribution in (-1, 1), and its quarters.
            for (power, expected) in [(2, 1.0 / 3.0), (4, 1.0 / 5.0)] {
                let moment = draws.iter().map(|x| (x / bound).powi(power)).sum::<f64>() / count;
                assert!((moment - expected).abs() < 0.005, "{power}: {moment}");
            }
            for quarter in 0..4 {
                let low = -bound + f64::from(quarter) * bound / 2.0;
                let inside = |x: &&f64| **x >= low && **x < low + bound / 2.0;
                let share = draws.iter().filter(inside).count() as f64 / count;
                assert!((share - 0.25).abs() < 0.008, "{quarter}: {share}");
            }
        }
    }

    #[test]
    fn key_sequence_position_and_column_each_make_it_another() {
        let noise = EmbeddingNoise::new(7, vec![1.0; 3]);
        let other_key = EmbeddingNoise::new(8, vec![1.0; 3]);
        let first = row(&noise, 1, 1);
        assert_eq!(first, row(&noise.clone(), 1, 1));
        let shifted: Vec<f64> = first
            .iter()
            .copied()
            .cycle()
            .skip(1)
            .take(COLUMNS)
            .collect();
        for other in [
            row(&other_key, 1, 1),
            row(&noise, 0, 1),
            row(&noise, 2, 1),
            row(&noise, 1, 0),
            row(&noise, 1, 2),
            row(&noise, 0, 0),
            shifted,
        ] {
            let r = correlation(&first, &other);
            assert!(r.abs() < 0.06, "{r}");
        }
    }
}
