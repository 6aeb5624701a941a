//! ROUGE-N, ROUGE-L and ROUGE-Lsum, number for number as `rouge_score` 0.1.2 computes them.
//!
//! C.-Y. Lin, "ROUGE: a package for automatic evaluation of summaries" (2004). Every float operation
//! is the one of `rouge_score`, in its order, so results are equal to the last bit.

mod lcs;
mod ngrams;
mod threshold;
mod tokens;

use self::lcs::Lcs;
use self::ngrams::{Ngrams, runs};
pub use self::threshold::Hits;
use self::tokens::{Tokenizer, Tokens};
use crate::intern::Counts;
use serde::Serialize;

/// How many words the stem cache keeps.
const WORD_LIMIT: usize = 1 << 18;

/// Precision, recall and their harmonic mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Score {
    /// Hits over the prediction's size.
    pub precision: f64,
    /// Hits over the gold answer's size.
    pub recall: f64,
    /// `2 · precision · recall / (precision + recall)`, 0 where both are 0.
    pub f: f64,
}

impl Score {
    fn new(hits: usize, predicted: usize, gold: usize) -> Self {
        if hits == 0 {
            return Self::default();
        }
        let precision = hits as f64 / predicted as f64;
        let recall = hits as f64 / gold as f64;
        Self {
            precision,
            recall,
            f: 2.0 * precision * recall / (precision + recall),
        }
    }
}

/// The four ROUGE scores of one pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rouge {
    /// Overlap of words.
    pub rouge1: Score,
    /// Overlap of pairs of neighbouring words.
    pub rouge2: Score,
    /// Longest common subsequence of the whole texts.
    pub rouge_l: Score,
    /// Summary level: for each line of the gold answer, the union of its longest common
    /// subsequences with the prediction's lines.
    pub rouge_lsum: Score,
    /// The counts behind `rouge_lsum`, for questions that a rounded float cannot answer.
    #[serde(skip)]
    pub lsum_hits: Hits,
}

impl Rouge {
    /// For each type the better of two, by F; `self` where they are equal.
    pub(crate) fn better(self, other: Self) -> Self {
        let pick = |a: Score, b: Score| if b.f > a.f { b } else { a };
        Self {
            rouge1: pick(self.rouge1, other.rouge1),
            rouge2: pick(self.rouge2, other.rouge2),
            rouge_l: pick(self.rouge_l, other.rouge_l),
            rouge_lsum: pick(self.rouge_lsum, other.rouge_lsum),
            lsum_hits: self.lsum_hits.better(other.lsum_hits),
        }
    }
}

/// Scores pairs of texts; keeps its stems and buffers from one pair to the next.
///
/// ```
/// use textmetrics::rouge::RougeScorer;
///
/// let mut scorer = RougeScorer::new(true);
/// let rouge = scorer.score("the cats sat", "a cat sat");
/// assert_eq!(rouge.rouge1.precision, 2.0 / 3.0);
/// ```
pub struct RougeScorer {
    tokenizer: Tokenizer,
    gold: Tokens,
    prediction: Tokens,
    counts: Counts,
    lcs: Lcs,
    ngrams: Ngrams,
    union: Vec<u64>,
}

impl RougeScorer {
    /// A scorer that compares stems (`use_stemmer=True`) or words as they are.
    pub fn new(stem: bool) -> Self {
        Self {
            tokenizer: Tokenizer::new(stem),
            gold: Tokens::default(),
            prediction: Tokens::default(),
            counts: Counts::default(),
            lcs: Lcs::default(),
            ngrams: Ngrams::default(),
            union: Vec::new(),
        }
    }

    /// Scores `prediction` against `gold`; a text without a token scores 0 throughout.
    pub fn score(&mut self, gold: &str, prediction: &str) -> Rouge {
        self.read(gold, prediction);
        let (golds, predicted) = (self.gold.ids.len(), self.prediction.ids.len());
        if golds == 0 || predicted == 0 {
            return Rouge::default();
        }
        let ids = self.tokenizer.ids();
        let common = self
            .counts
            .overlap(&self.gold.ids, &self.prediction.ids, ids);
        if common == 0 {
            return Rouge::default();
        }
        self.lcs.set_reference(&self.gold.ids, ids);
        let length = self.lcs.length(&self.prediction.ids);
        let one_line = self.gold.line_count() == 1 && self.prediction.line_count() == 1;
        let union = if one_line {
            length
        } else {
            self.union_hits(ids)
        };
        Rouge {
            rouge1: Score::new(common, predicted, golds),
            rouge2: self.ngram_score(2),
            rouge_l: Score::new(length, predicted, golds),
            rouge_lsum: Score::new(union, predicted, golds),
            lsum_hits: Hits {
                hits: union,
                predicted,
                gold: golds,
            },
        }
    }

    /// Scores `prediction` against several gold answers: for each type the score of the answer with
    /// the highest F, the first of equals (`score_multi`). No answer scores 0 throughout.
    pub fn score_multi(&mut self, golds: &[&str], prediction: &str) -> Rouge {
        golds
            .iter()
            .map(|gold| self.score(gold, prediction))
            .reduce(Rouge::better)
            .unwrap_or_default()
    }

    /// ROUGE-N: overlap of runs of `n` neighbouring words, for any `n` from 1 (`rouge1` to `rouge9` in
    /// the reference). 0 for `n` = 0, and where either text has fewer than `n` tokens.
    ///
    /// ```
    /// use textmetrics::rouge::RougeScorer;
    ///
    /// let score = RougeScorer::new(false).rouge_n("a b c d", "a b c x", 3);
    /// assert_eq!(score.precision, 0.5);
    /// ```
    pub fn rouge_n(&mut self, gold: &str, prediction: &str, n: usize) -> Score {
        if n == 0 {
            return Score::default();
        }
        self.read(gold, prediction);
        self.ngram_score(n)
    }

    /// ROUGE-Lsum over sentences in the place of lines: what `rouge_score` computes with `split_summaries=True`, once
    /// its sentence splitter (nltk's Punkt, a model to download) has run. Any splitter may stand there.
    ///
    /// ```
    /// use textmetrics::rouge::RougeScorer;
    ///
    /// let gold = ["The cat sat.", "It slept."];
    /// let score = RougeScorer::new(true).score_sentences(&gold, &["It slept.", "The cat sat."]);
    /// assert_eq!(score.f, 1.0);
    /// ```
    pub fn score_sentences(&mut self, gold: &[&str], prediction: &[&str]) -> Score {
        // A line break within a sentence separates words, as any white space does.
        let lines = |sentences: &[&str]| {
            let lines: Vec<String> = sentences.iter().map(|s| s.replace('\n', " ")).collect();
            lines.join("\n")
        };
        self.score(&lines(gold), &lines(prediction)).rouge_lsum
    }

    fn read(&mut self, gold: &str, prediction: &str) {
        self.tokenizer.trim();
        self.tokenizer.read(gold, &mut self.gold);
        self.tokenizer.read(prediction, &mut self.prediction);
    }

    /// ROUGE-N of the texts that were read last.
    fn ngram_score(&mut self, n: usize) -> Score {
        let (gold, prediction) = (&self.gold.ids, &self.prediction.ids);
        let hits = self.ngrams.common(n, gold, prediction);
        Score::new(hits, runs(prediction.len(), n), runs(gold.len(), n))
    }

    /// Tokens of the union LCS of every gold line, none counted more often than the prediction has it
    /// (the gold answer's own counts hold by themselves: no place in it is counted twice).
    fn union_hits(&mut self, ids: usize) -> usize {
        let Self {
            gold,
            prediction,
            counts,
            lcs,
            union,
            ..
        } = self;
        counts.add(&prediction.ids, ids);
        let mut hits = 0;
        for reference in gold.lines() {
            lcs.set_reference(reference, ids);
            union.clear();
            union.resize(lcs.width(), 0);
            for candidate in prediction.lines() {
                lcs.union_into(candidate, union);
            }
            let picked = |&(at, _): &(usize, &u32)| union[at / 64] >> (at % 64) & 1 == 1;
            for (_, &t) in reference.iter().enumerate().filter(picked) {
                hits += usize::from(counts.take(t));
            }
        }
        counts.clear(&prediction.ids);
        hits
    }
}
