//! BLEU as sacreBLEU 2.6 computes it.

use super::stats::{References, Statistics};
use super::tok13a::Tokenizer13a;
use super::{Better, TextMetric, VERSION};
use crate::intern::Interner;
use crate::ngrams::{Grams, NGrams};

const ORDER: usize = 4;

/// BLEU: `100 · bp · exp(mean of ln pₙ)` for n = 1…4, from 0 to 100.
///
/// pₙ is the share of the predictions' n-grams that a reference has (clipped counts), bp = min(1,
/// exp(1 − r/c)) with c the predictions' tokens and r the tokens of the references nearest in
/// length. A pₙ of 0 is smoothed to 1/(2ᵏ·total), k counting such orders (`smooth:exp`). A row's
/// own score uses the effective order, as `sentence_bleu` does. Tokens are those of `13a`.
///
/// Papineni et al., "BLEU" (2002); Post, "A call for clarity in reporting BLEU scores" (2018). A
/// row without a reference does not count.
#[derive(Default)]
pub struct Bleu {
    tokenizer: Tokenizer13a,
    words: Interner,
    ngrams: NGrams,
    prediction: Grams,
    references: Vec<Grams>,
}

/// Counts that BLEU follows from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BleuStats {
    /// Rows.
    pub rows: u64,
    /// Tokens of the predictions.
    pub predicted: u64,
    /// Tokens of the references nearest in length.
    pub reference: u64,
    /// Clipped matches of order 1 to 4.
    pub correct: [u64; ORDER],
    /// N-grams of the predictions of order 1 to 4.
    pub total: [u64; ORDER],
    references: References,
}

impl Statistics for BleuStats {
    fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.predicted += other.predicted;
        self.reference += other.reference;
        for n in 0..ORDER {
            self.correct[n] += other.correct[n];
            self.total[n] += other.total[n];
        }
        self.references.merge(other.references);
    }
}

impl BleuStats {
    fn brevity(&self) -> f64 {
        if self.predicted >= self.reference {
            1.0
        } else if self.predicted > 0 {
            (1.0 - self.reference as f64 / self.predicted as f64).exp()
        } else {
            0.0
        }
    }

    /// sacreBLEU's `compute_bleu`, operation for operation.
    fn bleu(&self, effective_order: bool) -> Option<f64> {
        if self.rows == 0 {
            return None;
        }
        if self.correct == [0; ORDER] {
            return Some(0.0);
        }
        let mut precisions = [0.0f64; ORDER];
        let (mut smooth, mut order) = (1.0, ORDER);
        for (n, precision) in precisions.iter_mut().enumerate() {
            let (correct, total) = (self.correct[n] as f64, self.total[n] as f64);
            if self.total[n] == 0 {
                break;
            }
            if effective_order {
                order = n + 1;
            }
            *precision = if self.correct[n] == 0 {
                smooth *= 2.0;
                100.0 / (smooth * total)
            } else {
                100.0 * correct / total
            };
        }
        let logs: f64 = precisions[..order].iter().map(|&p| floored_ln(p)).sum();
        Some(self.brevity() * (logs / order as f64).exp())
    }
}

/// sacreBLEU's `my_log`.
fn floored_ln(x: f64) -> f64 {
    if x == 0.0 { -9_999_999_999.0 } else { x.ln() }
}

impl Bleu {
    /// Tokenises the prediction and every reference.
    fn read(&mut self, references: &[&str], prediction: &str) {
        self.words.trim();
        if self.references.len() < references.len() {
            self.references
                .resize_with(references.len(), Grams::default);
        }
        let sides = std::iter::once((&mut self.prediction, prediction));
        let more = self.references.iter_mut().zip(references.iter().copied());
        for (grams, text) in sides.chain(more) {
            grams.tokens.clear();
            let tokens = self.tokenizer.tokens(text);
            let ids = tokens.map(|token| self.words.id(token.as_bytes()));
            grams.tokens.extend(ids);
            grams.reset();
        }
    }
}

/// The length nearest to `length`, the shorter of two that are as near.
pub(super) fn nearest(length: u64, lengths: impl Iterator<Item = u64>) -> u64 {
    lengths
        .min_by_key(|&other| (length.abs_diff(other), other))
        .unwrap_or(0)
}

impl TextMetric for Bleu {
    type Stats = BleuStats;

    fn name(&self) -> String {
        "bleu".into()
    }

    fn signature(&self, stats: &BleuStats) -> String {
        let references = stats.references.signature();
        format!("{references}|case:mixed|eff:no|tok:13a|smooth:exp|{VERSION}")
    }

    fn better(&self) -> Better {
        Better::Higher
    }

    fn row(&mut self, references: &[&str], prediction: &str) -> BleuStats {
        if references.is_empty() {
            return BleuStats::default();
        }
        self.read(references, prediction);
        let golds = &mut self.references[..references.len()];
        let predicted = self.prediction.tokens.len() as u64;
        let mut stats = BleuStats {
            rows: 1,
            predicted,
            reference: nearest(predicted, golds.iter().map(|g| g.tokens.len() as u64)),
            references: References::of(references),
            ..BleuStats::default()
        };
        for n in 0..ORDER {
            self.ngrams.next_order();
            self.ngrams.extend(&mut self.prediction);
            for gold in &mut *golds {
                self.ngrams.extend(gold);
            }
            stats.total[n] = self.prediction.ids.len() as u64;
            let golds = golds.iter().map(|gold| gold.ids.as_slice());
            stats.correct[n] = self.ngrams.clipped(&self.prediction.ids, golds);
        }
        stats
    }

    fn score(&self, stats: &BleuStats) -> Option<f64> {
        stats.bleu(false)
    }

    fn row_score(&self, stats: &BleuStats) -> Option<f64> {
        stats.bleu(true)
    }

    fn full_marks(&self) -> Option<f64> {
        Some(100.0)
    }

    fn note(&self, stats: &BleuStats) -> Option<String> {
        (stats.rows > 0).then(|| {
            let (bp, c, r) = (stats.brevity(), stats.predicted, stats.reference);
            format!("BP = {bp:.3} hyp_len = {c} ref_len = {r}")
        })
    }
}
