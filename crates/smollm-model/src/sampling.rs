//! Which token comes next.
//!
//! The order of the steps, and what each keeps at ties, is that of transformers' logits processors: repetition penalty,
//! temperature, top-k, top-p, min-p. A draw is a function of the seed, the stream, and the token's place in the answer,
//! never of what else is decoded.

use std::collections::HashSet;

use crate::GenerationConfig;
use crate::ops::math::{exp, max, sum};
use crate::ops::mix;

/// Chooses the tokens of one answer.
pub(crate) struct Sampler {
    /// Names the draws of this answer.
    key: u64,
    /// Draws so far.
    drawn: u64,
    /// Tokens of the prompt and the answer, where the repetition penalty asks for them.
    seen: HashSet<u32>,
}

/// A token, and how likely it was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Choice {
    pub(crate) id: u32,
    /// Natural logarithm of its probability under the model alone: before penalty, temperature and cuts.
    pub(crate) logprob: f64,
}

impl Sampler {
    pub(crate) fn new(config: &GenerationConfig, stream: u64, prompt: &[u32]) -> Self {
        let mut seen = HashSet::new();
        if config.repetition_penalty != 1.0 {
            seen.extend(prompt);
        }
        Self {
            key: mix(config.seed, stream),
            drawn: 0,
            seen,
        }
    }

    /// The next token after `logits: [vocab]`.
    pub(crate) fn choose(&mut self, config: &GenerationConfig, logits: &[f32]) -> Choice {
        let mut adjusted = Vec::new();
        let ranked = if self.seen.is_empty() {
            logits
        } else {
            adjusted.extend_from_slice(logits);
            self.penalise(config.repetition_penalty, &mut adjusted);
            &adjusted
        };
        let id = if config.temperature == 0.0 {
            most_likely(ranked)
        } else {
            self.draw(config, ranked)
        };
        if config.repetition_penalty != 1.0 {
            self.seen.insert(id);
        }
        Choice {
            id,
            logprob: logprob(logits, id),
        }
    }

    /// Makes what was said before less likely (Keskar et al., "CTRL", 2019).
    fn penalise(&self, penalty: f64, logits: &mut [f32]) {
        for &id in &self.seen {
            if let Some(logit) = logits.get_mut(id as usize) {
                let penalty = penalty as f32;
                *logit = if *logit < 0.0 {
                    *logit * penalty
                } else {
                    *logit / penalty
                };
            }
        }
    }

    fn draw(&mut self, config: &GenerationConfig, logits: &[f32]) -> u32 {
        let top = f64::from(max(logits));
        let weight = |logit: f32| ((f64::from(logit) - top) / config.temperature).exp();
        let mut kept: Vec<(u32, f64)> = (0..).zip(logits.iter().map(|z| weight(*z))).collect();
        if let Some(k) = config.top_k.filter(|k| *k < kept.len()) {
            keep_top_k(&mut kept, k);
        }
        if let Some(p) = config.top_p.filter(|p| *p < 1.0) {
            keep_top_p(&mut kept, p);
        }
        if let Some(p) = config.min_p {
            // The most likely token has weight 1.
            kept.retain(|(_, weight)| *weight >= p);
        }
        let total: f64 = kept.iter().map(|(_, weight)| weight).sum();
        let mut left = self.unit() * total;
        for (id, weight) in &kept {
            left -= weight;
            if left < 0.0 {
                return *id;
            }
        }
        // Rounding may leave a little over; a NaN among the logits leaves nothing else.
        kept.last()
            .map_or_else(|| most_likely(logits), |(id, _)| *id)
    }

    /// A number in `[0, 1)`.
    fn unit(&mut self) -> f64 {
        let bits = mix(self.key, self.drawn);
        self.drawn += 1;
        (bits >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The `k` largest weights, and what ties with the last of them.
fn keep_top_k(kept: &mut Vec<(u32, f64)>, k: usize) {
    let mut weights: Vec<f64> = kept.iter().map(|(_, weight)| *weight).collect();
    let (_, least, _) = weights.select_nth_unstable_by(k.max(1) - 1, |a, b| b.total_cmp(a));
    let least = *least;
    kept.retain(|(_, weight)| *weight >= least);
}

/// The fewest of the largest weights that make up a share `p` of all, at least one; ties to the lowest id.
fn keep_top_p(kept: &mut Vec<(u32, f64)>, p: f64) {
    let total: f64 = kept.iter().map(|(_, weight)| weight).sum();
    kept.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut share = 0.0;
    let enough = kept.iter().position(|(_, weight)| {
        share += weight / total;
        share >= p
    });
    kept.truncate(enough.map_or(kept.len(), |at| at + 1));
}

/// Ties go to the lowest id.
fn most_likely(logits: &[f32]) -> u32 {
    let top = max(logits);
    logits.iter().position(|z| *z == top).unwrap_or(0) as u32
}

fn logprob(logits: &[f32], id: u32) -> f64 {
    let top = max(logits);
    let total = sum(logits.len(), |i| exp(logits[i] - top));
    let chosen = logits
        .get(id as usize)
        .copied()
        .unwrap_or(f32::NEG_INFINITY);
    f64::from(chosen - top) - f64::from(total).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> GenerationConfig {
        GenerationConfig {
            temperature: 1.0,
            ..GenerationConfig::default()
        }
    }

    /// How often each id is drawn.
    fn shares(config: &GenerationConfig, logits: &[f32]) -> Vec<f64> {
        const DRAWS: u32 = 20_000;
        let mut sampler = Sampler::new(config, 3, &[]);
        let mut counts = vec![0.0; logits.len()];
        for _ in 0..DRAWS {
            counts[sampler.choose(config, logits).id as usize] += 1.0 / f64::from(DRAWS);
        }
        counts
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let logits = [0.1f32, 0.2, 0.3, 0.4].map(f32::ln);
        for (share, want) in shares(&config(), &logits).iter().zip([0.1, 0.2, 0.3, 0.4]) {
            assert!((share - want).abs() < 0.015, "{share} for {want}");
        }
        let cold = GenerationConfig {
            temperature: 0.5,
            ..config()
        };
        for (share, want) in shares(&cold, &logits).iter().zip([1.0, 4.0, 9.0, 16.0]) {
            assert!((share - want / 30.0).abs() < 0.015, "{share} for {want}");
        }
    }

    #[test]
    fn cuts_keep_what_transformers_keeps() {
        let logits = [0.1f32, 0.2, 0.3, 0.4].map(f32::ln);
        let kept = |config: GenerationConfig, logits: &[f32]| -> Vec<usize> {
            let shares = shares(&config, logits).into_iter().enumerate();
            shares
                .filter(|(_, share)| *share > 0.0)
                .map(|(id, _)| id)
                .collect()
        };
        let top_k = |k| GenerationConfig {
            top_k: Some(k),
            ..config()
        };
        let top_p = |p| GenerationConfig {
            top_p: Some(p),
            ..config()
        };
        let min_p = |p| GenerationConfig {
            min_p: Some(p),
            ..config()
        };
        assert_eq!(kept(top_k(2), &logits), [2, 3]);
        assert_eq!(kept(top_k(9), &logits), [0, 1, 2, 3]);
        assert_eq!(kept(top_k(1), &[1.0, 0.0, 1.0]), [0, 2], "ties are kept");
        assert_eq!(kept(top_p(0.39), &logits), [3]);
        assert_eq!(kept(top_p(0.6), &logits), [2, 3]);
        assert_eq!(kept(min_p(0.7), &logits), [2, 3]);
        assert_eq!(kept(min_p(1.0), &logits), [3]);
    }

    #[test]
    fn greedy_takes_the_first_of_equals_and_the_penalty_moves_on() {
        let greedy = GenerationConfig::default();
        let mut sampler = Sampler::new(&greedy, 0, &[]);
        assert_eq!(sampler.choose(&greedy, &[1.0, 2.0, 2.0]).id, 1);
        assert_eq!(sampler.choose(&greedy, &[f32::NAN; 3]).id, 0);
        let penalty = GenerationConfig {
            repetition_penalty: 1.5,
            ..greedy
        };
        let mut sampler = Sampler::new(&penalty, 0, &[0]);
        let logits = [2.0, 1.5, 1.2, -1.0];
        let ids: Vec<u32> = (0..3)
            .map(|_| sampler.choose(&penalty, &logits).id)
            .collect();
        // 2 / 1.5 is below 1.5, then above 1.2 and 1.5 / 1.5.
        assert_eq!(ids, [1, 0, 0]);
    }

    #[test]
    fn the_logprob_is_the_models() {
        let logits = [0.5f32, 0.25, 0.25].map(f32::ln);
        let hot = GenerationConfig {
            temperature: 5.0,
            ..config()
        };
        let choice = Sampler::new(&hot, 0, &[]).choose(&hot, &logits);
        let want = f64::from(logits[choice.id as usize]);
        assert!((choice.logprob - want).abs() < 1e-6);
    }

    #[test]
    fn streams_and_seeds_differ_and_repeat() {
        let logits = vec![0.0; 1000];
        let draw = |seed, stream| {
            let config = GenerationConfig { seed, ..config() };
            let mut sampler = Sampler::new(&config, stream, &[]);
            [0; 4].map(|_| sampler.choose(&config, &logits).id)
        };
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
        assert_ne!(draw(1, 2), draw(2, 2));
    }
}
