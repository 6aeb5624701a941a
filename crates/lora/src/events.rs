//! What a training run tells its caller while it goes on.

use crate::evaluation::{EVAL_LOSS, Measures};
use crate::state::{Best, Snapshot};
use serde::{Deserialize, Serialize};

/// One update. Serialises to a line of `train_log.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Which update, from 1.
    pub step: usize,
    /// Mean negative log-likelihood over the window's supervised tokens, before the update.
    pub loss: f64,
    /// Global L2 norm of the gradients, before clipping.
    pub grad_norm: f64,
    /// The learning rate that this update used.
    pub lr: f64,
    /// Tokens in the loss.
    pub supervised_tokens: usize,
    /// All tokens of the window's rows.
    pub tokens: usize,
    /// `tokens` over the time that the update took.
    pub tokens_per_s: f64,
    /// GFLOP/s: the operations of [`smollm_model::TrainingCost::gradient_flops`] over the same time.
    pub gflops: f64,
}

/// One evaluation. Serialises to a line of `train_log.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvalRecord {
    /// The update after which it was made.
    pub step: usize,
    /// Mean negative log-likelihood over all supervised tokens of the evaluation rows.
    pub eval_loss: f64,
    /// `exp(eval_loss)`: among how many equally likely tokens the model hesitates, on average.
    pub perplexity: f64,
    /// Tokens in that mean.
    pub eval_tokens: usize,
    /// What a [`Scorer`](crate::Scorer) measured, by name.
    #[serde(flatten)]
    pub metrics: Measures,
}

impl EvalRecord {
    /// A measure by its name; `eval_loss` is one.
    pub fn measure(&self, name: &str) -> Option<f64> {
        let own = (name == EVAL_LOSS).then_some(self.eval_loss);
        own.or_else(|| self.metrics.get(name).copied())
    }
}

/// A step that changed nothing, because its loss or a gradient was no number ([`OnNan::Skip`](crate::OnNan::Skip)).
/// Serialises to a line of `train_log.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkipRecord {
    /// Which update, from 1.
    pub step: usize,
    /// Why: the loss or the tensor, and what it was.
    pub skipped: String,
}

/// What just happened. The callback may answer `ControlFlow::Break` to any event: the run then ends,
/// and a window that is not complete leaves no trace in the weights.
#[derive(Clone, Debug)]
pub enum TrainEvent {
    /// A micro-batch went through the model (in training or evaluation): a chance to stop early.
    Batch {
        /// Its tokens.
        tokens: usize,
    },
    /// An update was made.
    Step(StepRecord),
    /// An update was passed over.
    Skipped(SkipRecord),
    /// The evaluation rows were scored.
    Eval(EvalRecord),
    /// A checkpoint is due (`save_steps`, or a new best one): all that it takes to go on from here.
    Checkpoint(Box<Snapshot>),
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainOutcome {
    /// Updates made.
    pub steps: usize,
    /// Updates planned.
    pub planned_steps: usize,
    /// Whether everything planned was done, or ended early as planned; otherwise the callback ended
    /// the run.
    pub complete: bool,
    /// Whether it ended because evaluations no longer got better (`early_stopping_patience`).
    pub stopped_early: bool,
    /// Loss of the last update's window.
    pub loss: Option<f64>,
    /// The last evaluation.
    pub eval_loss: Option<f64>,
    /// What else it measured.
    pub eval_metrics: Measures,
    /// The best evaluation, and the update after which it was made.
    pub best: Option<Best>,
    /// Tokens trained on, rows counted each time they were used.
    pub tokens: usize,
    /// Updates that were passed over, among `steps`.
    pub skipped: usize,
}
