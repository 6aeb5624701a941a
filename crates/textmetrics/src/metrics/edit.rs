//! Edit similarity: how much of a text stands after the fewest edits.

use super::{Better, Mean, TextMetric, VERSION};
use std::collections::HashMap;

/// `1 − distance / longer length`, with Levenshtein's distance (insert, delete, replace) over Unicode scalar values of the
/// texts as they are; two empty texts are alike. The best over the references; a row without one does not count.
#[derive(Default)]
pub struct EditSimilarity(Distance);

impl TextMetric for EditSimilarity {
    type Stats = Mean;

    fn name(&self) -> String {
        "edit_similarity".into()
    }

    fn signature(&self, stats: &Mean) -> String {
        let references = stats.references().signature();
        format!("{references}|unit:char|norm:longer|multi:best|{VERSION}")
    }

    fn better(&self) -> Better {
        Better::Higher
    }

    fn row(&mut self, references: &[&str], prediction: &str) -> Mean {
        let scores = references
            .iter()
            .map(|gold| self.0.similarity(gold, prediction));
        scores
            .reduce(f64::max)
            .map_or_else(Mean::default, |best| Mean::row(best, references))
    }

    fn score(&self, stats: &Mean) -> Option<f64> {
        stats.value()
    }
}

/// One word of a column: where it rises and where it falls from one row to the next.
#[derive(Clone, Copy)]
struct Word {
    up: u64,
    down: u64,
}

/// Levenshtein's distance, 64 rows at a time (Myers, "A fast bit-vector algorithm for approximate string matching based on
/// dynamic programming", JACM 46, 1999, with the blocks of Hyyrö, 2003). Keeps its buffers.
#[derive(Default)]
struct Distance {
    letters: HashMap<char, usize>,
    /// For each letter of the pattern, one bit a place where it stands.
    places: Vec<u64>,
    column: Vec<Word>,
}

impl Distance {
    fn similarity(&mut self, gold: &str, prediction: &str) -> f64 {
        let (golds, predicted) = (gold.chars().count(), prediction.chars().count());
        let longer = golds.max(predicted);
        if longer == 0 {
            return 1.0;
        }
        // The shorter text as the pattern means fewer words a column.
        let distance = if golds <= predicted {
            self.distance(gold, golds, prediction)
        } else {
            self.distance(prediction, predicted, gold)
        };
        (longer - distance) as f64 / longer as f64
    }

    fn distance(&mut self, pattern: &str, length: usize, text: &str) -> usize {
        if length == 0 {
            return text.chars().count();
        }
        let words = length.div_ceil(64);
        self.read(pattern, words);
        self.column.clear();
        self.column.resize(words, Word { up: !0, down: 0 });
        let last = 1u64 << ((length - 1) % 64);
        let mut distance = length;
        for letter in text.chars() {
            let at = self.letters.get(&letter).map(|at| at * words);
            // The row above the first rises by one from column to column.
            let (mut rise, mut fall) = (1u64, 0u64);
            for (number, word) in self.column.iter_mut().enumerate() {
                let equal = at.map_or(0, |at| self.places[at + number]);
                let top = if number + 1 == words { last } else { 1 << 63 };
                (rise, fall) = step(word, equal, rise, fall, top);
            }
            distance = distance + rise as usize - fall as usize;
        }
        distance
    }

    fn read(&mut self, pattern: &str, words: usize) {
        self.letters.clear();
        self.places.clear();
        for (place, letter) in pattern.chars().enumerate() {
            let next = self.letters.len();
            let at = *self.letters.entry(letter).or_insert(next) * words;
            if self.places.len() < at + words {
                self.places.resize(at + words, 0);
            }
            self.places[at + place / 64] |= 1 << (place % 64);
        }
    }
}

/// Moves one word a column on; takes and gives whether the row above and the row at bit `top` rise or fall.
fn step(word: &mut Word, equal: u64, rise: u64, fall: u64, top: u64) -> (u64, u64) {
    let diagonal = equal | word.down;
    let equal = equal | fall;
    let flat = ((equal & word.up).wrapping_add(word.up) ^ word.up) | equal;
    let rises = word.down | !(flat | word.up);
    let falls = word.up & flat;
    let out = (u64::from(rises & top != 0), u64::from(falls & top != 0));
    let (rises, falls) = (rises << 1 | rise, falls << 1 | fall);
    word.up = falls | !(diagonal | rises);
    word.down = rises & diagonal;
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let mut distance = Distance::default();
        for (a, b, want) in [
            ("", "", 1.0),
            ("", "abc", 0.0),
            ("kitten", "sitting", 4.0 / 7.0),
            ("naïve", "naive", 0.8),
            ("same", "same", 1.0),
        ] {
            assert!((distance.similarity(a, b) - want).abs() < 1e-15, "{a} {b}");
            assert!((distance.similarity(b, a) - want).abs() < 1e-15, "{b} {a}");
        }
    }
}
