//! The original evaluator's matches as metrics by name.

use super::{Better, Mean, TextMetric, VERSION};
use crate::ScoreOptions;
use crate::answer::{Answer, AnswerScorer};

/// Exact match, relaxed match or token F1 on [normalised](crate::normalize()) text, the best over the references; the
/// same numbers as [`RowScore`](crate::RowScore) has. A row without a reference does not count.
pub struct Match {
    name: &'static str,
    choice: &'static str,
    of: fn(&Answer) -> f64,
    scorer: AnswerScorer,
    options: ScoreOptions,
}

impl Match {
    /// The normalised texts are equal.
    pub fn exact() -> Self {
        Self::new("exact", "tok:normalize", |answer| f64::from(answer.exact))
    }

    /// The gold answer has at most 15 tokens, and one side's contain the other's.
    pub fn relaxed() -> Self {
        let choice = "tok:normalize|short:15";
        Self::new("relaxed", choice, |answer| f64::from(answer.relaxed))
    }

    /// The harmonic mean of precision and recall over tokens.
    pub fn token_f1() -> Self {
        Self::new("token_f1", "tok:normalize", |answer| answer.f1)
    }

    fn new(name: &'static str, choice: &'static str, of: fn(&Answer) -> f64) -> Self {
        Self {
            name,
            choice,
            of,
            scorer: AnswerScorer::default(),
            options: ScoreOptions::default(),
        }
    }
}

impl TextMetric for Match {
    type Stats = Mean;

    fn name(&self) -> String {
        self.name.into()
    }

    fn signature(&self, stats: &Mean) -> String {
        let references = stats.references().signature();
        format!("{references}|{}|multi:best|{VERSION}", self.choice)
    }

    fn better(&self) -> Better {
        Better::Higher
    }

    fn row(&mut self, references: &[&str], prediction: &str) -> Mean {
        let Self {
            of,
            scorer,
            options,
            ..
        } = self;
        let scores = references
            .iter()
            .map(|gold| of(&scorer.score(gold, prediction, options)));
        scores
            .reduce(f64::max)
            .map_or_else(Mean::default, |best| Mean::row(best, references))
    }

    fn score(&self, stats: &Mean) -> Option<f64> {
        stats.value()
    }
}
