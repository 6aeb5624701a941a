//! Exact match, relaxed match and token F1, on normalised text.

use crate::intern::{Counts, Interner};
use crate::normalize::{normalize_into, tokens};
use crate::score::{Compat, ScoreOptions};

/// What the normalised texts of one pair give.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) exact: bool,
    pub(crate) relaxed: bool,
    pub(crate) f1: f64,
    pub(crate) gold_tokens: usize,
}

/// Compares answers; keeps its buffers from one pair to the next.
#[derive(Default)]
pub(crate) struct AnswerScorer {
    lower: String,
    gold: Side,
    prediction: Side,
    words: Interner,
    counts: Counts,
}

/// One normalised text and its tokens.
#[derive(Default)]
struct Side {
    normal: String,
    ids: Vec<u32>,
}

impl Side {
    fn read(&mut self, text: &str, lower: &mut String, words: &mut Interner) {
        normalize_into(text, lower, &mut self.normal);
        self.ids.clear();
        self.ids
            .extend(tokens(&self.normal).map(|t| words.id(t.as_bytes())));
    }

    fn joined(&self) -> String {
        tokens(&self.normal).collect::<Vec<_>>().join(" ")
    }
}

impl AnswerScorer {
    /// Compares `prediction` with `gold`.
    pub(crate) fn score(&mut self, gold: &str, prediction: &str, opts: &ScoreOptions) -> Answer {
        self.words.trim();
        self.gold.read(gold, &mut self.lower, &mut self.words);
        self.prediction
            .read(prediction, &mut self.lower, &mut self.words);
        let exact = self.gold.normal == self.prediction.normal;
        Answer {
            exact,
            relaxed: self.relaxed(opts),
            f1: self.f1(),
            gold_tokens: self.gold.ids.len(),
        }
    }

    /// One side's tokens within the other's, for a gold answer of 1 to `short_thresh` tokens.
    fn relaxed(&self, opts: &ScoreOptions) -> bool {
        let (golds, predicted) = (self.gold.ids.len(), self.prediction.ids.len());
        if golds == 0 || golds > opts.short_thresh {
            return false;
        }
        if predicted == 0 {
            // Nothing is contained in everything, but no answer is no match.
            return opts.compat == Compat::Original;
        }
        let (gold, prediction) = (self.gold.joined(), self.prediction.joined());
        gold.contains(&prediction) || prediction.contains(&gold)
    }

    /// The harmonic mean of precision and recall over the multiset of tokens.
    fn f1(&mut self) -> f64 {
        let (gold, prediction) = (&self.gold.ids, &self.prediction.ids);
        if gold.is_empty() || prediction.is_empty() {
            return if gold.len() == prediction.len() {
                1.0
            } else {
                0.0
            };
        }
        let common = self.counts.overlap(gold, prediction, self.words.len());
        if common == 0 {
            return 0.0;
        }
        let precision = common as f64 / prediction.len() as f64;
        let recall = common as f64 / gold.len() as f64;
        2.0 * precision * recall / (precision + recall)
    }
}
