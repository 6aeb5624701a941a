//! chrF and chrF++ as sacreBLEU 2.6 computes them.

use super::stats::{References, Statistics};
use super::{Better, TextMetric, VERSION};
use crate::intern::Interner;
use crate::ngrams::{Grams, NGrams};
use crate::unicode::is_space;

const CHARS: usize = 6;
const MAX_ORDERS: usize = CHARS + 2;
/// β² for β = 2: recall weighs twice as much as precision.
const FACTOR: f64 = 4.0;

/// chrF: the F₂ score, from 0 to 100, of mean precision and mean recall of character n-grams of
/// order 1 to 6, white space left out; chrF++ also takes words of order 1 and 2.
///
/// `F = 100 · (1 + β²) · P · R / (β² · P + R)` with β = 2; P and R are means over the orders that
/// both sides have (`eff:yes`). Of several references the one with the best score of the row
/// counts. Popović, "chrF" (2015) and "chrF++" (2017). A row without a reference does not count.
pub struct Chrf {
    word_order: usize,
    words: Interner,
    ngrams: NGrams,
    prediction: [Grams; 2],
    reference: [Grams; 2],
}

/// Counts that chrF follows from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChrfStats {
    /// Rows.
    pub rows: u64,
    /// N-grams of predictions, of references, and in both: of characters of order 1 to 6, then of
    /// words of order 1 and 2.
    pub orders: [[u64; 3]; MAX_ORDERS],
    references: References,
}

impl Statistics for ChrfStats {
    fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        let pairs = self
            .orders
            .iter_mut()
            .flatten()
            .zip(other.orders.iter().flatten());
        for (count, more) in pairs {
            *count += more;
        }
        self.references.merge(other.references);
    }
}

/// sacreBLEU's `_compute_f_score`, operation for operation.
fn f_score(orders: &[[u64; 3]]) -> f64 {
    let (mut precision, mut recall, mut effective) = (0.0, 0.0, 0u32);
    for &[predicted, golds, common] in orders {
        if predicted > 0 && golds > 0 {
            precision += common as f64 / predicted as f64;
            recall += common as f64 / golds as f64;
            effective += 1;
        }
    }
    if effective == 0 {
        return 0.0;
    }
    precision /= f64::from(effective);
    recall /= f64::from(effective);
    if precision + recall == 0.0 {
        return 0.0;
    }
    let score = (1.0 + FACTOR) * precision * recall;
    100.0 * (score / (FACTOR * precision + recall))
}

impl Chrf {
    /// chrF2: characters alone.
    pub fn new() -> Self {
        Self::with_words(0)
    }

    /// chrF2++: characters, words and pairs of words.
    pub fn plus_plus() -> Self {
        Self::with_words(2)
    }

    fn with_words(word_order: usize) -> Self {
        let (words, ngrams, prediction, reference) = Default::default();
        Self {
            word_order,
            words,
            ngrams,
            prediction,
            reference,
        }
    }

    fn orders<'a>(&self, stats: &'a ChrfStats) -> &'a [[u64; 3]] {
        &stats.orders[..CHARS + self.word_order]
    }

    /// Counts of the texts that were read.
    fn count(&mut self) -> [[u64; 3]; MAX_ORDERS] {
        let mut orders = [[0; 3]; MAX_ORDERS];
        let (chars, words) = orders.split_at_mut(CHARS);
        let kinds = [chars, &mut words[..self.word_order]];
        let texts = self.prediction.iter_mut().zip(&mut self.reference);
        for (orders, (prediction, reference)) in kinds.into_iter().zip(texts) {
            prediction.reset();
            reference.reset();
            for order in orders {
                self.ngrams.next_order();
                self.ngrams.extend(prediction);
                self.ngrams.extend(reference);
                let golds = reference.ids.len() as u64;
                let common = std::iter::once(reference.ids.as_slice());
                let common = self.ngrams.clipped(&prediction.ids, common);
                // N-grams that cannot match, because the reference has none, do not count.
                let predicted = if golds > 0 {
                    prediction.ids.len() as u64
                } else {
                    0
                };
                *order = [predicted, golds, common];
            }
        }
        orders
    }
}

impl Default for Chrf {
    fn default() -> Self {
        Self::new()
    }
}

/// Reads a text's characters and words.
fn read(text: &str, [chars, words]: &mut [Grams; 2], interner: &mut Interner) {
    chars.tokens.clear();
    let visible = text.chars().filter(|&c| !is_space(c));
    chars.tokens.extend(visible.map(u32::from));
    words.tokens.clear();
    for word in text.split(is_space).filter(|word| !word.is_empty()) {
        for part in split_punctuation(word).into_iter().flatten() {
            words.tokens.push(interner.id(part.as_bytes()));
        }
    }
}

/// A word with a mark at its end, or else at its start, cut off: `(hi)` gives `(hi` and `)`.
fn split_punctuation(word: &str) -> [Option<&str>; 2] {
    let end = word.char_indices().next_back().map_or(0, |(at, _)| at);
    if end == 0 {
        return [Some(word), None];
    }
    if word[end..].starts_with(|c: char| c.is_ascii_punctuation()) {
        return [Some(&word[..end]), Some(&word[end..])];
    }
    if word.starts_with(|c: char| c.is_ascii_punctuation()) {
        return [Some(&word[..1]), Some(&word[1..])];
    }
    [Some(word), None]
}

impl TextMetric for Chrf {
    type Stats = ChrfStats;

    fn name(&self) -> String {
        if self.word_order == 0 {
            "chrf"
        } else {
            "chrf++"
        }
        .into()
    }

    fn signature(&self, stats: &ChrfStats) -> String {
        let references = stats.references.signature();
        let words = self.word_order;
        format!("{references}|case:mixed|eff:yes|nc:{CHARS}|nw:{words}|space:no|{VERSION}")
    }

    fn better(&self) -> Better {
        Better::Higher
    }

    fn row(&mut self, references: &[&str], prediction: &str) -> ChrfStats {
        if references.is_empty() {
            return ChrfStats::default();
        }
        self.words.trim();
        read(prediction, &mut self.prediction, &mut self.words);
        let mut best = (-1.0, [[0; 3]; MAX_ORDERS]);
        for reference in references {
            read(reference, &mut self.reference, &mut self.words);
            let orders = self.count();
            let score = f_score(&orders[..CHARS + self.word_order]);
            if score > best.0 {
                best = (score, orders);
            }
        }
        ChrfStats {
            rows: 1,
            orders: best.1,
            references: References::of(references),
        }
    }

    fn score(&self, stats: &ChrfStats) -> Option<f64> {
        (stats.rows > 0).then(|| f_score(self.orders(stats)))
    }

    fn full_marks(&self) -> Option<f64> {
        Some(100.0)
    }
}
