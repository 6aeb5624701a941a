//! All metrics of one prediction, and of many at once.

use crate::answer::AnswerScorer;
use crate::rouge::{Rouge, RougeScorer};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Rows below which one more thread is not worth its start and its cold stem cache.
const MIN_PIECE: usize = 128;

/// Whose definitions hold where the original's are defects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compat {
    /// Ours: an empty prediction is no relaxed match, and the relaxed rate is the plain rate.
    #[default]
    Default,
    /// The original's: an empty prediction matches every short answer, and the reported relaxed
    /// rate is `max(exact match rate, relaxed rate)`.
    Original,
}

/// What scoring depends on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoreOptions {
    /// Gold answers of at most this many tokens are the short subset, and the only ones that can
    /// be a relaxed match.
    pub short_thresh: usize,
    /// `acc_at_rouge` counts the rows whose ROUGE-Lsum F is at least this.
    pub rouge_thresh: f64,
    /// Whose definitions hold.
    pub compat: Compat,
}

impl Default for ScoreOptions {
    fn default() -> Self {
        Self {
            short_thresh: 15,
            rouge_thresh: 0.5,
            compat: Compat::Default,
        }
    }
}

/// The scores of one row.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "a yes/no metric is a bool")]
pub struct RowScore {
    /// The normalised strings are equal.
    pub em: bool,
    /// The gold answer is short, and one side's tokens contain the other's.
    pub relaxed: bool,
    /// Token F1.
    pub f1: f64,
    /// ROUGE with the stemmer.
    #[serde(flatten)]
    pub rouge: Rouge,
    /// ROUGE-Lsum F reaches the threshold, in floats as the reference computes it.
    pub acc_at_rouge: bool,
    /// The same in whole numbers: a true 0.5 is never missed by a rounded 0.49999999999999994.
    pub acc_at_rouge_exact: bool,
    /// Tokens of the normalised gold answer.
    pub gold_tokens: usize,
    /// The gold answer has at most `short_thresh` tokens.
    pub short: bool,
}

impl RowScore {
    /// For each metric the better of two scores of one prediction, against two gold answers that are both right.
    /// `gold_tokens` and `short` stay those of `self`.
    #[must_use]
    pub fn best(self, other: Self) -> Self {
        Self {
            em: self.em || other.em,
            relaxed: self.relaxed || other.relaxed,
            f1: self.f1.max(other.f1),
            rouge: self.rouge.better(other.rouge),
            acc_at_rouge: self.acc_at_rouge || other.acc_at_rouge,
            acc_at_rouge_exact: self.acc_at_rouge_exact || other.acc_at_rouge_exact,
            ..self
        }
    }
}

/// A metric by name, for code that treats all of them alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Exact match.
    Em,
    /// Relaxed match.
    Relaxed,
    /// Token F1.
    F1,
    /// ROUGE-1 F.
    Rouge1,
    /// ROUGE-2 F.
    Rouge2,
    /// ROUGE-L F.
    RougeL,
    /// ROUGE-Lsum F.
    RougeLsum,
    /// ROUGE-Lsum F at or over the threshold.
    AccAtRouge,
}

impl Metric {
    /// Every metric, in the order of the JSON schema.
    pub const ALL: [Self; 8] = [
        Self::Em,
        Self::Relaxed,
        Self::F1,
        Self::Rouge1,
        Self::Rouge2,
        Self::RougeL,
        Self::RougeLsum,
        Self::AccAtRouge,
    ];

    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Em => "em",
            Self::Relaxed => "relaxed",
            Self::F1 => "f1",
            Self::Rouge1 => "rouge1",
            Self::Rouge2 => "rouge2",
            Self::RougeL => "rouge_l",
            Self::RougeLsum => "rouge_lsum",
            Self::AccAtRouge => "acc_at_rouge",
        }
    }

    /// What a person reads; says what the number really is.
    pub fn label(self) -> &'static str {
        match self {
            Self::Em => "Exact match",
            Self::Relaxed => "Relaxed match",
            Self::F1 => "Token F1",
            Self::Rouge1 => "ROUGE-1 (stemmed, F)",
            Self::Rouge2 => "ROUGE-2 (stemmed, F)",
            Self::RougeL => "ROUGE-L (stemmed, F)",
            Self::RougeLsum => "ROUGE-Lsum (stemmed, F)",
            Self::AccAtRouge => "Accuracy at ROUGE-Lsum",
        }
    }

    /// Whether each row is 0 or 1.
    pub fn is_binary(self) -> bool {
        matches!(self, Self::Em | Self::Relaxed | Self::AccAtRouge)
    }

    /// This metric of a row, between 0 and 1.
    pub fn of(self, row: &RowScore) -> f64 {
        match self {
            Self::Em => f64::from(row.em),
            Self::Relaxed => f64::from(row.relaxed),
            Self::F1 => row.f1,
            Self::Rouge1 => row.rouge.rouge1.f,
            Self::Rouge2 => row.rouge.rouge2.f,
            Self::RougeL => row.rouge.rouge_l.f,
            Self::RougeLsum => row.rouge.rouge_lsum.f,
            Self::AccAtRouge => f64::from(row.acc_at_rouge),
        }
    }
}

/// Scores rows one after another; keeps its stems and buffers from one row to the next.
pub struct Scorer {
    options: ScoreOptions,
    answers: AnswerScorer,
    rouge: RougeScorer,
}

impl Scorer {
    /// A scorer with these options.
    pub fn new(options: ScoreOptions) -> Self {
        Self {
            options,
            answers: AnswerScorer::default(),
            rouge: RougeScorer::new(true),
        }
    }

    /// Scores `prediction` against `gold`.
    pub fn score(&mut self, gold: &str, prediction: &str) -> RowScore {
        let answer = self.answers.score(gold, prediction, &self.options);
        let rouge = self.rouge.score(gold, prediction);
        RowScore {
            em: answer.exact,
            relaxed: answer.relaxed,
            f1: answer.f1,
            rouge,
            acc_at_rouge: rouge.rouge_lsum.f >= self.options.rouge_thresh,
            acc_at_rouge_exact: rouge.lsum_hits.f_reaches(self.options.rouge_thresh),
            gold_tokens: answer.gold_tokens,
            short: answer.gold_tokens <= self.options.short_thresh,
        }
    }
}

/// Scores one row; [`Scorer`] or [`score_rows`] are quicker for many.
pub fn score_row(gold: &str, prediction: &str, options: &ScoreOptions) -> RowScore {
    Scorer::new(*options).score(gold, prediction)
}

/// Scores many rows on all threads, in order.
///
/// `pair` gives a row's gold answer and its prediction.
pub fn score_rows<T: Sync>(
    rows: &[T],
    options: &ScoreOptions,
    pair: impl Fn(&T) -> (&str, &str) + Sync,
) -> Vec<RowScore> {
    // A few pieces a thread: even work, and few cold caches.
    let piece = rows
        .len()
        .div_ceil(rayon::current_num_threads() * 4)
        .max(MIN_PIECE);
    rows.par_chunks(piece)
        .flat_map_iter(|chunk| {
            let mut scorer = Scorer::new(*options);
            let pair = &pair;
            chunk.iter().map(move |row| {
                let (gold, prediction) = pair(row);
                scorer.score(gold, prediction)
            })
        })
        .collect()
}
