//! Exact match and F1 of the official `SQuAD` evaluators, v1.1 and v2.0.

use super::{Better, Mean, TextMetric, VERSION};
use crate::intern::{Counts, Interner};
use crate::unicode::{is_space, is_word, lower_into};

/// Which of the two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SquadScore {
    /// The normalised answers are equal.
    Exact,
    /// F1 of the multisets of tokens.
    F1,
}

/// Which evaluator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SquadVersion {
    /// v1.1: every question has an answer; without a common token F1 is 0. A row without a
    /// reference does not count.
    V1,
    /// v2.0: gold answers that are empty once normalised are dropped, and a question left with none
    /// has no answer, which only an empty prediction matches.
    V2,
}

/// `SQuAD`'s exact match or F1, the best over the references.
///
/// Texts are lower-cased, lose ASCII punctuation and then the words *a*, *an*, *the*, and are split
/// at white space. Rajpurkar et al., "`SQuAD`" (2016) and "Know what you don't know" (2018).
pub struct Squad {
    version: SquadVersion,
    score: SquadScore,
    lower: String,
    bare: String,
    words: Interner,
    counts: Counts,
    prediction: Vec<u32>,
    gold: Vec<u32>,
}

impl Squad {
    /// One of the four numbers.
    pub fn new(version: SquadVersion, score: SquadScore) -> Self {
        let (lower, bare, words, counts, prediction, gold) = Default::default();
        Self {
            version,
            score,
            lower,
            bare,
            words,
            counts,
            prediction,
            gold,
        }
    }

    /// The tokens of the normal form; normal forms are equal just when their tokens are.
    fn read(&mut self, text: &str, ids: &mut Vec<u32>) {
        self.lower.clear();
        self.bare.clear();
        ids.clear();
        lower_into(text, &mut self.lower);
        let kept = self.lower.chars().filter(|c| !c.is_ascii_punctuation());
        self.bare.extend(kept);
        remove_articles(&self.bare, &mut self.lower);
        let tokens = self.lower.split(is_space).filter(|token| !token.is_empty());
        ids.extend(tokens.map(|token| self.words.id(token.as_bytes())));
    }

    fn compare(&mut self) -> f64 {
        let (gold, prediction) = (&self.gold, &self.prediction);
        if self.score == SquadScore::Exact {
            return f64::from(gold == prediction);
        }
        if gold.is_empty() || prediction.is_empty() {
            return f64::from(self.version == SquadVersion::V2 && gold == prediction);
        }
        let common = self.counts.overlap(gold, prediction, self.words.len());
        if common == 0 {
            return 0.0;
        }
        let precision = common as f64 / prediction.len() as f64;
        let recall = common as f64 / gold.len() as f64;
        2.0 * precision * recall / (precision + recall)
    }

    fn best(&mut self, references: &[&str]) -> f64 {
        let mut best: Option<f64> = None;
        for reference in references {
            let mut gold = std::mem::take(&mut self.gold);
            self.read(reference, &mut gold);
            self.gold = gold;
            if self.version == SquadVersion::V1 || !self.gold.is_empty() {
                best = Some(best.unwrap_or(0.0).max(self.compare()));
            }
        }
        best.unwrap_or_else(|| {
            self.gold.clear();
            self.compare()
        })
    }
}

/// `re.sub(r"\b(a|an|the)\b", " ", text)`: between two `\b` with letters only in between stands a
/// whole run of `\w`.
fn remove_articles(text: &str, out: &mut String) {
    out.clear();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let word = is_word(c);
        let end = rest.find(|c| is_word(c) != word).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        let article = matches!(run, "a" | "an" | "the");
        out.push_str(if article { " " } else { run });
        rest = after;
    }
}

impl TextMetric for Squad {
    type Stats = Mean;

    fn name(&self) -> String {
        match (self.version, self.score) {
            (SquadVersion::V1, SquadScore::Exact) => "squad_em",
            (SquadVersion::V1, SquadScore::F1) => "squad_f1",
            (SquadVersion::V2, SquadScore::Exact) => "squad2_em",
            (SquadVersion::V2, SquadScore::F1) => "squad2_f1",
        }
        .into()
    }

    fn signature(&self, stats: &Mean) -> String {
        let references = stats.references().signature();
        let squad = match self.version {
            SquadVersion::V1 => "1.1",
            SquadVersion::V2 => "2.0",
        };
        format!("{references}|squad:{squad}|multi:max|{VERSION}")
    }

    fn better(&self) -> Better {
        Better::Higher
    }

    fn row(&mut self, references: &[&str], prediction: &str) -> Mean {
        if references.is_empty() && self.version == SquadVersion::V1 {
            return Mean::default();
        }
        self.words.trim();
        let mut ids = std::mem::take(&mut self.prediction);
        self.read(prediction, &mut ids);
        self.prediction = ids;
        Mean::row(self.best(references), references)
    }

    fn score(&self, stats: &Mean) -> Option<f64> {
        stats.value()
    }
}
