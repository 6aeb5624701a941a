//! What a report is made from: plain data, no files.

use std::collections::BTreeMap;

use textmetrics::stats::{CompareOptions, LengthControl, NoiseFloor, RowsComparison};
use textmetrics::{RowScore, ScoreOptions};

/// Everything that [`crate::render`] shows.
#[derive(Debug, Clone)]
pub struct ReportData {
    /// Title of the page.
    pub title: String,
    /// Name of the first system ("before").
    pub before: String,
    /// Name of the second system ("after").
    pub after: String,
    /// All predictions are the same, character for character.
    pub identical: bool,
    /// The comparison, over all rows and the short ones.
    pub comparison: RowsComparison,
    /// What the comparison assumed.
    pub options: CompareOptions,
    /// What the rows were scored with.
    pub score_options: ScoreOptions,
    /// Whether differences are differences of length, by [name](textmetrics::Metric::name) of the metric; may be empty.
    pub length_control: BTreeMap<&'static str, LengthControl>,
    /// What a second run of the first system changed, by name of the metric; empty without such a run.
    pub noise_floor: BTreeMap<&'static str, NoiseFloor>,
    /// One entry a row, in the order of the files.
    pub rows: Vec<ReportRow>,
    /// Points of the training log, if there was a training.
    pub training: Vec<TrainPoint>,
    /// What training has moved on texts that it was not for, if that was measured.
    pub elsewhere: Option<Elsewhere>,
    /// Where everything came from, in blocks.
    pub provenance: Vec<Provenance>,
    /// Remarks that a reader must see, such as rows left out.
    pub notes: Vec<String>,
}

/// One row: texts and scores.
#[derive(Debug, Clone)]
pub struct ReportRow {
    /// Identifier, where the row has one.
    pub id: Option<String>,
    /// The question.
    pub instruction: String,
    /// The text that it is about, where there is one.
    pub context: Option<String>,
    /// The reference answer.
    pub gold: String,
    /// The first system's answer.
    pub before: String,
    /// The second system's answer.
    pub after: String,
    /// Scores of `before`.
    pub before_score: RowScore,
    /// Scores of `after`.
    pub after_score: RowScore,
    /// The kind of question, where rows have one.
    pub category: Option<String>,
    /// The prompt did not fit and was shortened, for either system.
    pub truncated: bool,
    /// Why the first answer ended, where that is known: `stop` or `length`.
    pub before_finish: Option<String>,
    /// Why the second answer ended.
    pub after_finish: Option<String>,
    /// How training had seen the row, where an audit found that it had.
    pub leak: Option<String>,
}

impl ReportRow {
    /// Difference of token F1, the metric that rows are sorted by.
    pub fn delta(&self) -> f64 {
        let delta = self.after_score.f1 - self.before_score.f1;
        if delta.abs() > textmetrics::stats::TIE {
            delta
        } else {
            0.0
        }
    }

    /// An answer was cut off at the greatest length instead of coming to its end.
    pub fn no_stop(&self) -> bool {
        [&self.before_finish, &self.after_finish]
            .iter()
            .any(|finish| finish.as_deref() == Some("length"))
    }

    /// Right in one system and wrong in the other, by any yes/no metric.
    pub fn flipped(&self) -> bool {
        let yes_no = |score: &RowScore| (score.em, score.relaxed, score.acc_at_rouge);
        yes_no(&self.before_score) != yes_no(&self.after_score)
    }
}

/// One line of a training log.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TrainPoint {
    /// Optimiser step, from 1.
    pub step: u64,
    /// Training loss, on lines that have one.
    pub loss: Option<f64>,
    /// Evaluation loss, on lines that have one.
    pub eval_loss: Option<f64>,
    /// Learning rate of the update, on lines that have one.
    pub lr: Option<f64>,
}

/// What fine-tuning has moved on texts that it was not for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Elsewhere {
    /// All texts together, each token counted once.
    pub all: Moved,
    /// Names and figures of each text.
    pub texts: Vec<(String, Moved)>,
}

/// How far a tuned model is from its base over some tokens. What is no number stays none.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Moved {
    /// Tokens that were predicted.
    pub tokens: usize,
    /// Perplexity of the base.
    pub perplexity_before: f64,
    /// Perplexity of the tuned model.
    pub perplexity_after: f64,
    /// Mean divergence of the tuned model's next-token distribution from the base's, in nats a token.
    pub kl: f64,
    /// Part of the places, from 0 to 1, at which both find the same token likeliest.
    pub same_choice: f64,
}

impl Moved {
    /// By which part perplexity has grown.
    pub fn increase(&self) -> f64 {
        self.perplexity_after / self.perplexity_before - 1.0
    }
}

/// A named block of facts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Provenance {
    /// What the block is about, such as a stage.
    pub title: String,
    /// Names and values.
    pub facts: Vec<(String, String)>,
}
