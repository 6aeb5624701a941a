//! Which token comes next.
//!
//! The order of the steps, and what each keeps at ties, is that of transformers' logits processors: repetition penalty,
//! temperature, top-k, top-p, min-p. A draw is a function of the seed, the stream, and the token's place in the answer,
//! never of what else is decoded.

// A kernel's body must be compiled with the instructions of the level that `simd::dispatch` chose, so
// it has to be inlined into it.
#![allow(clippy::inline_always)]

use std::collections::HashSet;

use crate::Sampling;
use crate::ops::math::{exp, max, sum};
use crate::ops::mix;
use crate::simd::{Kernel, Simd, dispatch};

/// Chooses the tokens of one answer.
#[derive(Debug)]
pub(crate) struct Sampler {
    /// Names the draws of this answer.
    key: u64,
    /// Draws so far.
    drawn: u64,
    /// Tokens of the prompt and the answer, where the repetition penalty asks for them.
    seen: HashSet<u32>,
}

/// A token, and how likely it was.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Choice {
    pub(crate) id: u32,
    /// Natural logarithm of its probability under the model alone: before penalty, temperature and cuts.
    pub(crate) logprob: f64,
    /// The most likely tokens with their log-probabilities, most likely first.
    pub(crate) top: Vec<(u32, f64)>,
}

impl Sampler {
    pub(crate) fn new(config: &Sampling, prompt: &[u32]) -> Self {
        let mut seen = HashSet::new();
        if config.repetition_penalty != 1.0 {
            seen.extend(prompt);
        }
        Self {
            key: mix(config.seed, config.stream),
            drawn: 0,
            seen,
        }
    }

    /// The next token after `logits: [vocab]`, and the `top` most likely ones.
    pub(crate) fn choose(&mut self, config: &Sampling, logits: &[f32], top: usize) -> Choice {
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
        let normaliser = Normaliser::of(logits);
        Choice {
            id,
            logprob: normaliser.logprob(logits, id),
            top: most_likely_first(logits, top)
                .into_iter()
                .map(|id| (id, normaliser.logprob(logits, id)))
                .collect(),
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

    fn draw(&mut self, config: &Sampling, logits: &[f32]) -> u32 {
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

/// The `count` most likely tokens, most likely first, ties to the lowest id.
fn most_likely_first(logits: &[f32], count: usize) -> Vec<u32> {
    let order = |a: &u32, b: &u32| {
        let (x, y) = (logits[*a as usize], logits[*b as usize]);
        y.total_cmp(&x).then(a.cmp(b))
    };
    let count = count.min(logits.len());
    if count == 0 {
        return Vec::new();
    }
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    ids.select_nth_unstable_by(count - 1, order);
    ids.truncate(count);
    ids.sort_unstable_by(order);
    ids
}

/// What turns logits into log-probabilities.
struct Normaliser {
    top: f32,
    /// `ln Σ exp(logit − top)`
    log_total: f64,
}

impl Normaliser {
    fn of(logits: &[f32]) -> Self {
        let top = max(logits);
        let total = dispatch(ExpSum { logits, top });
        Self {
            top,
            log_total: f64::from(total).ln(),
        }
    }

    fn logprob(&self, logits: &[f32], id: u32) -> f64 {
        let chosen = logits
            .get(id as usize)
            .copied()
            .unwrap_or(f32::NEG_INFINITY);
        f64::from(chosen - self.top) - self.log_total
    }
}

/// `Σ exp(logit − top)`
struct ExpSum<'a> {
    logits: &'a [f32],
    top: f32,
}

impl Kernel for ExpSum<'_> {
    type Output = f32;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> f32 {
        let Self { logits, top } = self;
        sum(logits.len(), |i| exp(logits[i] - top))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Sampling {
        Sampling {
            temperature: 1.0,
            ..Sampling::default()
        }
    }

    /// How often each id is drawn.
    fn shares(config: &Sampling, logits: &[f32]) -> Vec<f64> {
        const DRAWS: u32 = 20_000;
        let mut sampler = Sampler::new(
            &Sampling {
                stream: 3,
                ..config.clone()
            },
            &[],
        );
        let mut counts = vec![0.0; logits.len()];
        for _ in 0..DRAWS {
            counts[sampler.choose(config, logits, 0).id as usize] += 1.0 / f64::from(DRAWS);
        }
        counts
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let logits = [0.1f32, 0.2, 0.3, 0.4].map(f32::ln);
        for (share, want) in shares(&config(), &logits).iter().zip([0.1, 0.2, 0.3, 0.4]) {
            assert!((share - want).abs() < 0.015, "{share} for {want}");
        }
        let cold = Sampling {
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
        let kept = |config: Sampling, logits: &[f32]| -> Vec<usize> {
            let shares = shares(&config, logits).into_iter().enumerate();
            shares
                .filter(|(_, share)| *share > 0.0)
                .map(|(id, _)| id)
                .collect()
        };
        let top_k = |k| Sampling {
            top_k: Some(k),
            ..config()
        };
        let top_p = |p| Sampling {
            top_p: Some(p),
            ..config()
        };
        let min_p = |p| Sampling {
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
        let greedy = Sampling::default();
        let mut sampler = Sampler::new(&greedy, &[]);
        assert_eq!(sampler.choose(&greedy, &[1.0, 2.0, 2.0], 0).id, 1);
        assert_eq!(sampler.choose(&greedy, &[f32::NAN; 3], 0).id, 0);
        let penalty = Sampling {
            repetition_penalty: 1.5,
            ..greedy
        };
        let mut sampler = Sampler::new(&penalty, &[0]);
        let logits = [2.0, 1.5, 1.2, -1.0];
        let ids: Vec<u32> = (0..3)
            .map(|_| sampler.choose(&penalty, &logits, 0).id)
            .collect();
        // 2 / 1.5 is below 1.5, then above 1.2 and 1.5 / 1.5.
        assert_eq!(ids, [1, 0, 0]);
    }

    #[test]
    fn the_logprob_is_the_models() {
        let logits = [0.5f32, 0.25, 0.25].map(f32::ln);
        let hot = Sampling {
            temperature: 5.0,
            ..config()
        };
        let choice = Sampler::new(&hot, &[]).choose(&hot, &logits, 0);
        let want = f64::from(logits[choice.id as usize]);
        assert!((choice.logprob - want).abs() < 1e-6);
    }

    #[test]
    fn the_top_is_in_order_and_ties_go_to_the_lowest_id() {
        let logits = [0.25f32, 0.1, 0.25, 0.4].map(f32::ln);
        let choice = Sampler::new(&config(), &[]).choose(&config(), &logits, 3);
        let ids: Vec<u32> = choice.top.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, [3, 0, 2]);
        assert!((choice.top[0].1 - 0.4f64.ln()).abs() < 1e-6);
        let all = Sampler::new(&config(), &[]).choose(&config(), &logits, 9);
        assert_eq!(all.top.len(), 4);
    }

    #[test]
    fn streams_and_seeds_differ_and_repeat() {
        let logits = vec![0.0; 1000];
        let draw = |seed, stream| {
            let config = Sampling {
                seed,
                stream,
                ..config()
            };
            let mut sampler = Sampler::new(&config, &[]);
            [0; 4].map(|_| sampler.choose(&config, &logits, 0).id)
        };
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
        assert_ne!(draw(1, 2), draw(2, 2));
    }
}
