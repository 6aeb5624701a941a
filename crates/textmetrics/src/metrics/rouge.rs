//! ROUGE as metrics by name.

use super::{Better, Mean, References, Statistics, TextMetric, VERSION};
use crate::rouge::RougeScorer;

/// Which ROUGE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RougeType {
    /// ROUGE-N: runs of `n` neighbouring words, `n` from 1.
    N(u8),
    /// ROUGE-L: longest common subsequence of the whole texts.
    L,
    /// ROUGE-Lsum: union of longest common subsequences by line.
    Lsum,
}

impl RougeType {
    /// The name in `rouge_score`.
    pub fn name(self) -> String {
        match self {
            Self::N(n) => format!("rouge{n}"),
            Self::L => "rougeL".into(),
            Self::Lsum => "rougeLsum".into(),
        }
    }
}

/// The mean F of one type of ROUGE, of several references the best, as `rouge_score`'s `score_multi`. A row without a
/// reference does not count.
pub struct RougeF {
    which: RougeType,
    stem: bool,
    scorer: RougeScorer,
}

impl RougeF {
    /// With Porter's stemmer, or on words as they are.
    pub fn new(which: RougeType, stem: bool) -> Self {
        Self {
            which,
            stem,
            scorer: RougeScorer::new(stem),
        }
    }

    fn f(&mut self, gold: &str, prediction: &str) -> f64 {
        match self.which {
            RougeType::N(n) => self.scorer.rouge_n(gold, prediction, usize::from(n)).f,
            RougeType::L => self.scorer.score(gold, prediction).rouge_l.f,
            RougeType::Lsum => self.scorer.score(gold, prediction).rouge_lsum.f,
        }
    }
}

impl TextMetric for RougeF {
    type Stats = Mean;

    fn name(&self) -> String {
        let suffix = if self.stem { "" } else { "_nostem" };
        self.which.name() + suffix
    }

    fn signature(&self, stats: &Mean) -> String {
        let stem = if self.stem { "porter" } else { "no" };
        let references = stats.references().signature();
        format!("{references}|stem:{stem}|tok:rouge_score|multi:best|{VERSION}")
    }

    fn better(&self) -> Better {
        Better::Higher
    }

    fn row(&mut self, references: &[&str], prediction: &str) -> Mean {
        let scores = references.iter().map(|gold| self.f(gold, prediction));
        scores
            .reduce(f64::max)
            .map_or_else(Mean::default, |best| Mean::row(best, references))
    }

    fn score(&self, stats: &Mean) -> Option<f64> {
        stats.value()
    }
}

/// The rows that reach a threshold: as floats compare, and in whole numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccStats {
    rows: u64,
    floats: u64,
    exact: u64,
    references: References,
}

impl Statistics for AccStats {
    fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.floats += other.floats;
        self.exact += other.exact;
        self.references.merge(other.references);
    }
}

/// Acc@ROUGE-Lsum: the share of rows whose F, with the stemmer, is at least a threshold for some reference. The score is
/// the reference implementation's comparison of floats; where whole numbers say otherwise
/// ([`Hits::f_reaches`](crate::rouge::Hits::f_reaches)), the note gives their share.
pub struct AccAtRouge {
    threshold: f64,
    scorer: RougeScorer,
}

impl AccAtRouge {
    /// At a threshold, usually between 0 and 1.
    pub fn new(threshold: f64) -> Self {
        Self {
            threshold,
            scorer: RougeScorer::new(true),
        }
    }
}

impl TextMetric for AccAtRouge {
    type Stats = AccStats;

    fn name(&self) -> String {
        format!("acc_rougeLsum@{}", self.threshold)
    }

    fn signature(&self, stats: &AccStats) -> String {
        let references = stats.references.signature();
        format!("{references}|stem:porter|tok:rouge_score|multi:best|cmp:float|{VERSION}")
    }

    fn better(&self) -> Better {
        Better::Higher
    }

    fn row(&mut self, references: &[&str], prediction: &str) -> AccStats {
        if references.is_empty() {
            return AccStats::default();
        }
        let (mut floats, mut exact) = (false, false);
        for gold in references {
            let rouge = self.scorer.score(gold, prediction);
            floats |= rouge.rouge_lsum.f >= self.threshold;
            exact |= rouge.lsum_hits.f_reaches(self.threshold);
        }
        AccStats {
            rows: 1,
            floats: u64::from(floats),
            exact: u64::from(exact),
            references: References::of(references),
        }
    }

    fn score(&self, stats: &AccStats) -> Option<f64> {
        (stats.rows > 0).then(|| stats.floats as f64 / stats.rows as f64)
    }

    fn note(&self, stats: &AccStats) -> Option<String> {
        (stats.exact != stats.floats).then(|| {
            let exact = stats.exact as f64 / stats.rows as f64;
            format!("in whole numbers {exact:.4}")
        })
    }
}
