//! ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-Lsum, number for number as `rouge_score` 0.1.2 computes them.
//!
//! C.-Y. Lin, "ROUGE: a package for automatic evaluation of summaries" (2004). Every float operation
//! is the one of `rouge_score`, in its order, so results are equal to the last bit.

mod lcs;
mod tokens;

use self::lcs::Lcs;
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
    bigrams: [Vec<u64>; 2],
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
            bigrams: Default::default(),
            union: Vec::new(),
        }
    }

    /// Scores `prediction` against `gold`; a text without a token scores 0 throughout.
    pub fn score(&mut self, gold: &str, prediction: &str) -> Rouge {
        self.tokenizer.trim();
        self.tokenizer.read(gold, &mut self.gold);
        self.tokenizer.read(prediction, &mut self.prediction);
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
            rouge2: Score::new(self.common_bigrams(), predicted - 1, golds - 1),
            rouge_l: Score::new(length, predicted, golds),
            rouge_lsum: Score::new(union, predicted, golds),
        }
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

    /// The multiset intersection of both texts' pairs of neighbours, by merging two sorted lists.
    fn common_bigrams(&mut self) -> usize {
        let texts = [&self.gold.ids, &self.prediction.ids];
        for (bigrams, ids) in self.bigrams.iter_mut().zip(texts) {
            bigrams.clear();
            bigrams.extend(
                ids.windows(2)
                    .map(|w| u64::from(w[0]) << 32 | u64::from(w[1])),
            );
            bigrams.sort_unstable();
        }
        let [gold, prediction] = &self.bigrams;
        let (mut i, mut j, mut common) = (0, 0, 0);
        while let (Some(a), Some(b)) = (gold.get(i), prediction.get(j)) {
            common += usize::from(a == b);
            i += usize::from(a <= b);
            j += usize::from(b <= a);
        }
        common
    }
}
