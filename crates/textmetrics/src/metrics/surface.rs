//! What can be seen of a prediction without understanding it: length, repetition, refusal, nothing.

use super::bleu::nearest;
use super::stats::References;
use super::{Better, Mean, Ratio, TextMetric, VERSION};
use crate::intern::Interner;
use crate::ngrams::{Grams, NGrams};
use crate::normalize::{normalize_into, tokens};

/// Reads normalised texts into word ids.
#[derive(Default)]
struct Reader {
    lower: String,
    normal: String,
    words: Interner,
}

impl Reader {
    fn normal(&mut self, text: &str) -> &str {
        normalize_into(text, &mut self.lower, &mut self.normal);
        &self.normal
    }

    fn count(&mut self, text: &str) -> u64 {
        tokens(self.normal(text)).count() as u64
    }
}

/// Length ratio: tokens of the predictions over tokens of the gold answers (of several, the one
/// nearest in length), both [normalised](crate::normalize()). Not defined without a gold token.
#[derive(Default)]
pub struct LengthRatio(Reader);

impl TextMetric for LengthRatio {
    type Stats = Ratio;

    fn name(&self) -> String {
        "length_ratio".into()
    }

    fn signature(&self, stats: &Ratio) -> String {
        let references = stats.references.signature();
        format!("{references}|tok:normalize|multi:nearest|{VERSION}")
    }

    fn better(&self) -> Better {
        Better::Neither
    }

    fn row(&mut self, references: &[&str], prediction: &str) -> Ratio {
        if references.is_empty() {
            return Ratio::default();
        }
        let over = self.0.count(prediction);
        let lengths = references.iter().map(|gold| self.0.count(gold));
        Ratio {
            over,
            under: nearest(over, lengths),
            references: References::of(references),
        }
    }

    fn score(&self, stats: &Ratio) -> Option<f64> {
        stats.value()
    }

    fn full_marks(&self) -> Option<f64> {
        None
    }
}

/// Repetition rate: the share of a prediction's 4-grams that stood in it before,
/// `1 − different / all`, over [normalised](crate::normalize()) tokens; of many predictions, all
/// repeats over all 4-grams. Not defined below four tokens. Needs no reference.
#[derive(Default)]
pub struct Repetition {
    reader: Reader,
    ngrams: NGrams,
    text: Grams,
}

impl TextMetric for Repetition {
    type Stats = Ratio;

    fn name(&self) -> String {
        "repetition".into()
    }

    fn signature(&self, _stats: &Ratio) -> String {
        format!("n:4|tok:normalize|{VERSION}")
    }

    fn better(&self) -> Better {
        Better::Lower
    }

    fn row(&mut self, references: &[&str], prediction: &str) -> Ratio {
        let Reader {
            lower,
            normal,
            words,
        } = &mut self.reader;
        words.trim();
        normalize_into(prediction, lower, normal);
        self.text.tokens.clear();
        let ids = tokens(normal).map(|token| words.id(token.as_bytes()));
        self.text.tokens.extend(ids);
        self.text.reset();
        for _ in 0..4 {
            self.ngrams.next_order();
            self.ngrams.extend(&mut self.text);
        }
        let all = self.text.ids.len() as u64;
        Ratio {
            over: all - self.ngrams.distinct(),
            under: all,
            references: References::of(references),
        }
    }

    fn score(&self, stats: &Ratio) -> Option<f64> {
        stats.value()
    }
}

/// How a refusal begins, [normalised](crate::normalize()) (no case, no punctuation, so `I can't`
/// is `i cant`). English, and prefixes only: what refuses in other words is not found.
pub const REFUSALS: [&str; 22] = [
    "sorry",
    "im sorry",
    "i am sorry",
    "im afraid",
    "i am afraid",
    "i apologize",
    "i apologise",
    "my apologies",
    "unfortunately i",
    "i cant",
    "i cannot",
    "i can not",
    "i wont",
    "i will not",
    "im not able to",
    "i am not able to",
    "im unable to",
    "i am unable to",
    "i must decline",
    "as an ai",
    "as a language model",
    "as a large language model",
];

/// A rate of predictions that begin as a refusal does, or that are empty. Needs no reference.
pub struct Rate {
    name: &'static str,
    choice: &'static str,
    test: fn(&str) -> bool,
    reader: Reader,
}

impl Rate {
    /// Predictions that begin, on a word boundary, with one of [`REFUSALS`].
    pub fn refusal() -> Self {
        Self {
            name: "refusal",
            choice: "match:prefix|phrases:22en",
            test: |normal| REFUSALS.iter().any(|phrase| begins(normal, phrase)),
            reader: Reader::default(),
        }
    }

    /// Predictions without a token, once [normalised](crate::normalize()).
    pub fn empty() -> Self {
        Self {
            name: "empty",
            choice: "tok:normalize",
            test: |normal| tokens(normal).next().is_none(),
            reader: Reader::default(),
        }
    }
}

/// Whether the tokens of `text` begin with those of `phrase`.
fn begins(text: &str, phrase: &str) -> bool {
    let mut words = tokens(text);
    tokens(phrase).all(|word| words.next() == Some(word))
}

impl TextMetric for Rate {
    type Stats = Mean;

    fn name(&self) -> String {
        self.name.into()
    }

    fn signature(&self, _stats: &Mean) -> String {
        format!("{}|{VERSION}", self.choice)
    }

    fn better(&self) -> Better {
        Better::Lower
    }

    fn row(&mut self, references: &[&str], prediction: &str) -> Mean {
        let found = (self.test)(self.reader.normal(prediction));
        Mean::row(f64::from(found), references)
    }

    fn score(&self, stats: &Mean) -> Option<f64> {
        stats.value()
    }
}
