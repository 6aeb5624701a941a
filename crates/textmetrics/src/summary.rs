//! Means over rows that can be merged.

use crate::score::{Compat, Metric, RowScore, ScoreOptions};
use crate::unit_sum::UnitSum;
use serde::Serialize;

/// One group of rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tally {
    n: u64,
    sums: [UnitSum; Metric::ALL.len()],
    acc_exact: u64,
}

impl Tally {
    fn push(&mut self, row: &RowScore) {
        self.n += 1;
        self.acc_exact += u64::from(row.acc_at_rouge_exact);
        for (sum, metric) in self.sums.iter_mut().zip(Metric::ALL) {
            sum.add(metric.of(row));
        }
    }

    fn merge(&mut self, other: &Self) {
        self.n += other.n;
        self.acc_exact += other.acc_exact;
        for (sum, more) in self.sums.iter_mut().zip(&other.sums) {
            sum.merge(*more);
        }
    }

    fn metrics(&self, compat: Compat) -> Metrics {
        let means = self.sums.map(|sum| (self.n > 0).then(|| sum.mean(self.n)));
        let [
            em,
            mut relaxed,
            f1,
            rouge1,
            rouge2,
            rouge_l,
            rouge_lsum,
            acc_at_rouge,
        ] = means;
        if compat == Compat::Original {
            relaxed = em.zip(relaxed).map(|(em, relaxed)| em.max(relaxed));
        }
        Metrics {
            n: self.n,
            em,
            relaxed,
            f1,
            rouge1,
            rouge2,
            rouge_l,
            rouge_lsum,
            acc_at_rouge,
            acc_at_rouge_exact: (self.n > 0).then(|| self.acc_exact as f64 / self.n as f64),
        }
    }
}

/// Rows counted so far: all of them, and those with a short gold answer.
///
/// Summaries of the parts of a set, merged in any order, equal the summary of the whole to the bit.
///
/// ```
/// use textmetrics::{ScoreOptions, Summary, score_row};
///
/// let options = ScoreOptions::default();
/// let mut summary = Summary::default();
/// summary.push(&score_row("Paris", "It is Paris.", &options));
/// assert_eq!(summary.scores(&options).all.relaxed, Some(1.0));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    all: Tally,
    short: Tally,
}

impl Summary {
    /// Counts a row.
    pub fn push(&mut self, row: &RowScore) {
        self.all.push(row);
        if row.short {
            self.short.push(row);
        }
    }

    /// Counts every row that `other` counted.
    pub fn merge(&mut self, other: &Self) {
        self.all.merge(&other.all);
        self.short.merge(&other.short);
    }

    /// The means, under the options that the rows were scored with.
    pub fn scores(&self, options: &ScoreOptions) -> Scores {
        Scores {
            all: self.all.metrics(options.compat),
            short: self.short.metrics(options.compat),
            options: *options,
        }
    }
}

impl<'a> FromIterator<&'a RowScore> for Summary {
    fn from_iter<I: IntoIterator<Item = &'a RowScore>>(rows: I) -> Self {
        let mut summary = Self::default();
        rows.into_iter().for_each(|row| summary.push(row));
        summary
    }
}

/// Means over a group of rows; all `None` for no rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Metrics {
    /// Number of rows.
    pub n: u64,
    /// Exact match rate.
    pub em: Option<f64>,
    /// Relaxed match rate; under [`Compat::Original`] no smaller than `em`.
    pub relaxed: Option<f64>,
    /// Mean token F1.
    pub f1: Option<f64>,
    /// Mean ROUGE-1 F, stemmed.
    pub rouge1: Option<f64>,
    /// Mean ROUGE-2 F, stemmed.
    pub rouge2: Option<f64>,
    /// Mean ROUGE-L F, stemmed.
    pub rouge_l: Option<f64>,
    /// Mean ROUGE-Lsum F, stemmed: what the original calls "ROUGE-L".
    pub rouge_lsum: Option<f64>,
    /// Share of rows with ROUGE-Lsum F at or over the threshold, in the reference's floats.
    pub acc_at_rouge: Option<f64>,
    /// The same share in whole numbers, see [`RowScore::acc_at_rouge_exact`].
    pub acc_at_rouge_exact: Option<f64>,
}

impl Metrics {
    /// One of the means by name.
    pub fn get(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::Em => self.em,
            Metric::Relaxed => self.relaxed,
            Metric::F1 => self.f1,
            Metric::Rouge1 => self.rouge1,
            Metric::Rouge2 => self.rouge2,
            Metric::RougeL => self.rouge_l,
            Metric::RougeLsum => self.rouge_lsum,
            Metric::AccAtRouge => self.acc_at_rouge,
        }
    }
}

/// The scores of a set of predictions, as `evaluate --json` prints them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Scores {
    /// All rows.
    pub all: Metrics,
    /// Rows whose gold answer has at most `short_thresh` tokens.
    pub short: Metrics,
    /// What the rows were scored with.
    pub options: ScoreOptions,
}
