//! The base and the adapter on the same tokens, and how far their distributions are apart.

use loader::smollm_model::{Decoder, ModelError, Phase, Segment};
use rayon::prelude::*;
use serde::Serialize;
use stage::{OrExit, Progress, StageError, interrupt};

use crate::texts::Encoded;

/// How far an adapter is from its base, over some tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Drift {
    /// Tokens that were predicted.
    pub tokens: usize,
    /// `exp` of the base's mean negative log-likelihood.
    pub perplexity_before: f64,
    /// The adapter's.
    pub perplexity_after: f64,
    /// Mean Kullback-Leibler divergence, in nats a token, of the adapter's distribution from the base's:
    /// `Σ p (ln p − ln q)` with the base's `p` and the adapter's `q`. 0 where nothing has changed.
    pub kl: f64,
    /// Part of the places at which both find the same token likeliest.
    pub same_choice: f64,
    #[serde(skip)]
    sums: Sums,
}

/// One text's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TextDrift {
    /// What the text is called.
    pub name: String,
    /// Its figures.
    #[serde(flatten)]
    pub drift: Drift,
}

/// What a mean is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sums {
    tokens: usize,
    nll_before: f64,
    nll_after: f64,
    kl: f64,
    same: usize,
}

impl Sums {
    fn add(&mut self, other: &Self) {
        self.tokens += other.tokens;
        self.nll_before += other.nll_before;
        self.nll_after += other.nll_after;
        self.kl += other.kl;
        self.same += other.same;
    }

    fn drift(self) -> Drift {
        let n = self.tokens as f64;
        Drift {
            tokens: self.tokens,
            perplexity_before: (self.nll_before / n).exp(),
            perplexity_after: (self.nll_after / n).exp(),
            kl: self.kl / n,
            same_choice: self.same as f64 / n,
            sums: self,
        }
    }
}

impl Drift {
    /// All texts together, each token counted once.
    pub(crate) fn of(texts: &[TextDrift]) -> Self {
        let mut sums = Sums::default();
        for text in texts {
            sums.add(&text.drift.sums);
        }
        sums.drift()
    }

    /// By which part perplexity has grown.
    pub fn increase(&self) -> f64 {
        self.perplexity_after / self.perplexity_before - 1.0
    }
}

/// Reads every text with the base and with the adapter, some texts at a time.
pub(crate) fn read_all<D: Decoder>(
    model: &mut D,
    texts: &[Encoded],
    together: usize,
) -> Result<Vec<TextDrift>, StageError> {
    let places = texts.iter().map(|text| text.ids.len() as u64 - 1).sum();
    let progress = Progress::new("reading", places);
    let mut found = Vec::with_capacity(texts.len());
    for texts in texts.chunks(together) {
        let mut advance = |places: usize| {
            progress.inc(places as u64);
            !interrupt::requested()
        };
        let sums = read(model, texts, &mut advance).or_failed()?;
        let Some(sums) = sums else {
            progress.finish();
            return Err(StageError::interrupted("interrupted while reading"));
        };
        found.extend(texts.iter().zip(sums).map(|(text, sums)| TextDrift {
            name: text.name.clone(),
            drift: sums.drift(),
        }));
    }
    progress.finish();
    Ok(found)
}

/// Reads some texts side by side, token by token, so that logits of every place are there and never more than a pass's.
/// `None` where `advance`, which hears of every place, says no.
fn read<D: Decoder>(
    model: &mut D,
    texts: &[Encoded],
    advance: &mut dyn FnMut(usize) -> bool,
) -> Result<Option<Vec<Sums>>, ModelError> {
    let vocab = model.config().vocab_size;
    let mut sums = vec![Sums::default(); texts.len()];
    let mut caches: Vec<[D::Cache; 2]> = Vec::new();
    caches.resize_with(texts.len(), Default::default);
    let longest = texts.iter().map(|text| text.ids.len()).max().unwrap_or(0);
    for at in 0..longest.saturating_sub(1) {
        let open = |text: &Encoded| at + 1 < text.ids.len();
        let mut segments = Vec::new();
        for (text, caches) in texts.iter().zip(&mut caches).filter(|(t, _)| open(t)) {
            for (cache, adapter) in caches.iter_mut().zip([None, Some(0)]) {
                segments.push(Segment {
                    ids: &text.ids[at..=at],
                    cache,
                    adapter,
                    phase: Phase::Prompt,
                    logits: true,
                });
            }
        }
        let logits = model.pass(&mut segments)?;
        let targets = texts.iter().filter(|t| open(t)).map(|t| t.ids[at + 1]);
        let places: Vec<u32> = targets.collect();
        let seen: Vec<Sums> = logits
            .par_chunks_exact(2 * vocab)
            .zip(&places)
            .map(|(both, target)| place(both.split_at(vocab), *target as usize))
            .collect();
        let open_sums = sums.iter_mut().zip(texts).filter(|(_, t)| open(t));
        for ((sum, _), seen) in open_sums.zip(&seen) {
            sum.add(seen);
        }
        if !advance(places.len()) {
            return Ok(None);
        }
    }
    Ok(Some(sums))
}

/// One place: logits of the base and of the adapter, and the token that follows.
fn place((before, after): (&[f32], &[f32]), target: usize) -> Sums {
    let (norm_before, norm_after) = (log_sum_exp(before), log_sum_exp(after));
    let terms = before.iter().zip(after).map(|(b, a)| {
        let ln_p = f64::from(*b) - norm_before;
        let ln_q = f64::from(*a) - norm_after;
        ln_p.exp() * (ln_p - ln_q)
    });
    Sums {
        tokens: 1,
        nll_before: norm_before - f64::from(before[target]),
        nll_after: norm_after - f64::from(after[target]),
        kl: terms.sum(),
        same: usize::from(likeliest(before) == likeliest(after)),
    }
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    let top = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|x| (f64::from(*x) - top).exp()).sum();
    top + sum.ln()
}

/// The first of the highest.
fn likeliest(logits: &[f32]) -> usize {
    let mut best = 0;
    for (i, x) in logits.iter().enumerate() {
        if *x > logits[best] {
            best = i;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_what_the_formulas_say() {
        // p = (1/2, 1/4, 1/4), q = (1/4, 1/4, 1/2), both with any offset.
        let ln = |x: f32| x.ln();
        let before = [ln(0.5) + 3.0, ln(0.25) + 3.0, ln(0.25) + 3.0];
        let after = [ln(0.25) - 2.0, ln(0.25) - 2.0, ln(0.5) - 2.0];
        let found = place((&before, &after), 2);
        assert!((found.nll_before - 4f64.ln()).abs() < 1e-6);
        assert!((found.nll_after - 2f64.ln()).abs() < 1e-6);
        assert!((found.kl - 0.25 * 2f64.ln()).abs() < 1e-6);
        assert_eq!((found.tokens, found.same), (1, 0));
        let same = place((&before, &before), 0);
        assert_eq!((same.kl, same.same), (0.0, 1));
    }

    #[test]
    fn means_are_over_tokens_not_over_texts() {
        let text = |tokens, nll: f64| TextDrift {
            name: String::new(),
            drift: Sums {
                tokens,
                nll_before: nll,
                nll_after: 2.0 * nll,
                ..Sums::default()
            }
            .drift(),
        };
        let all = Drift::of(&[text(1, 4.0), text(3, 0.0)]);
        assert_eq!(all.tokens, 4);
        assert!((all.perplexity_before - 1f64.exp()).abs() < 1e-12);
        assert!((all.increase() - (1f64.exp() - 1.0)).abs() < 1e-12);
    }

    #[test]
    fn what_is_no_number_stays_none() {
        let found = place((&[0.0, 1.0], &[f32::NAN, 1.0]), 0);
        assert!(found.kl.is_nan() && found.nll_after.is_nan());
    }
}
