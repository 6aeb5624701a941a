//! Distinct-n: how many different runs of words many predictions use.

use super::{Better, Statistics, TextMetric, VERSION};
use crate::normalize::{normalize_into, tokens};
use std::collections::HashSet;

/// The different n-grams of some rows, and how many there were in all. Grows with what the predictions say: shards know
/// the same n-grams, so nothing smaller adds up exactly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DistinctStats {
    seen: HashSet<Box<str>>,
    all: u64,
}

impl Statistics for DistinctStats {
    fn merge(&mut self, other: &Self) {
        for gram in &other.seen {
            if !self.seen.contains(gram) {
                self.seen.insert(gram.clone());
            }
        }
        self.all += other.all;
    }
}

/// Different n-grams over all n-grams of the predictions, over [normalised](crate::normalize()) tokens; n-grams do not cross
/// rows (Li et al., "A diversity-promoting objective function for neural conversation models", NAACL 2016). Falls as
/// there are more rows, so compare equal numbers of them. Needs no reference; not defined without an n-gram.
pub struct Distinct {
    n: usize,
    lower: String,
    normal: String,
    gram: String,
}

impl Distinct {
    /// Of runs of `n` tokens, `n` from 1.
    pub fn new(n: usize) -> Self {
        let (lower, normal, gram) = Default::default();
        Self {
            n: n.max(1),
            lower,
            normal,
            gram,
        }
    }
}

impl TextMetric for Distinct {
    type Stats = DistinctStats;

    fn name(&self) -> String {
        format!("distinct_{}", self.n)
    }

    fn signature(&self, _stats: &DistinctStats) -> String {
        format!("n:{}|tok:normalize|{VERSION}", self.n)
    }

    fn better(&self) -> Better {
        Better::Higher
    }

    fn row(&mut self, _references: &[&str], prediction: &str) -> DistinctStats {
        normalize_into(prediction, &mut self.lower, &mut self.normal);
        let words: Vec<&str> = tokens(&self.normal).collect();
        let mut stats = DistinctStats::default();
        for run in words.windows(self.n) {
            self.gram.clear();
            for word in run {
                self.gram.push_str(word);
                self.gram.push(' '); // no token holds white space
            }
            stats.all += 1;
            if !stats.seen.contains(self.gram.as_str()) {
                stats.seen.insert(self.gram.as_str().into());
            }
        }
        stats
    }

    /// The second copy of a row brings no new n-gram.
    fn can_be_resampled(&self) -> bool {
        false
    }

    fn score(&self, stats: &DistinctStats) -> Option<f64> {
        (stats.all > 0).then(|| stats.seen.len() as f64 / stats.all as f64)
    }
}
