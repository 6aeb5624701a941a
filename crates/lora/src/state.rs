//! Where a run stands after a whole step: what it takes to go on as if it had never stopped.
//!
//! The order of the rows and the dropout masks follow from (seed, epoch) and (seed, step,
//! micro-batch), so no random generator has a state. What is left is the step, the variables, the
//! optimiser's moments, and what the evaluations have shown so far.

use crate::adapter::Adapter;
use crate::average::Average;
use crate::error::TrainError;
use crate::evaluation::Measures;
use crate::events::{EvalRecord, StepRecord};
use crate::optim::{Moments, Optimizer};
use crate::settings::{TrainConfig, greater_is_better};
use crate::trainable::Trainable;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The best evaluation of a run so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The update after which it was made.
    pub step: usize,
    /// By which measure it is the best, such as `eval_loss`.
    pub metric: String,
    /// That measure.
    pub value: f64,
    /// Its loss, whatever the measure is.
    pub eval_loss: f64,
}

/// What a run has behind it, without its tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Updates made (transformers' `global_step`).
    pub steps: usize,
    /// Where the data stands: the epoch, from 0, and the accumulation window in it that is next.
    pub epoch: usize,
    /// See `epoch`.
    pub window: usize,
    /// Whether all that was due after the last of them is done: the evaluation, the checkpoint.
    pub settled: bool,
    /// Tokens trained on.
    pub tokens: usize,
    /// Loss of the last update's window.
    pub loss: Option<f64>,
    /// The last evaluation.
    pub eval_loss: Option<f64>,
    /// What else it measured.
    pub eval_metrics: Measures,
    /// The best evaluation.
    pub best: Option<Best>,
    /// Evaluations since then.
    pub evaluations_without_gain: usize,
    /// Updates that were passed over, among `steps`.
    pub skipped: usize,
    /// How many of them were the last.
    pub skipped_in_a_row: usize,
}

impl Progress {
    /// Takes in an update.
    pub(crate) fn made(&mut self, record: &StepRecord) {
        self.loss = Some(record.loss);
        self.tokens += record.tokens;
        self.skipped_in_a_row = 0;
    }

    /// Takes in an evaluation; whether it is the best so far, by the measure that the settings name.
    pub(crate) fn evaluated(&mut self, record: EvalRecord, config: &TrainConfig) -> bool {
        let metric = config.best_metric();
        let value = record.measure(&metric);
        let eval_loss = record.eval_loss;
        self.eval_loss = Some(eval_loss);
        self.eval_metrics = record.metrics;
        let better = |value: f64, best: &Best| {
            if greater_is_better(&metric) {
                value > best.value
            } else {
                value < best.value
            }
        };
        let gained = value.filter(|v| self.best.as_ref().is_none_or(|best| better(*v, best)));
        if let Some(value) = gained {
            let step = self.steps;
            self.best = Some(Best {
                step,
                metric,
                value,
                eval_loss,
            });
            self.evaluations_without_gain = 0;
        } else {
            self.evaluations_without_gain += 1;
        }
        gained.is_some()
    }

    /// Whether evaluations have stopped getting better for as long as the settings wait.
    pub(crate) fn patience_is_over(&self, config: &TrainConfig) -> bool {
        let patience = config.early_stopping_patience;
        patience.is_some_and(|patience| self.evaluations_without_gain >= patience)
    }
}

/// A run's state: its progress and its optimiser. [`crate::train_from`] moves it on.
///
/// Together with the variables' values, which it does not hold, it is all of a run's memory. After
/// a run that was ended in the middle it is the state after the last whole step.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainState {
    pub(crate) progress: Progress,
    pub(crate) optimizer: Optimizer,
    pub(crate) average: Option<Average>,
}

impl TrainState {
    /// The state before the first step.
    pub fn new(trainable: &Trainable, config: &TrainConfig) -> Self {
        Self {
            progress: Progress {
                settled: true,
                ..Progress::default()
            },
            optimizer: Optimizer::new(trainable.vars(), config.optim, config.weight_decay),
            average: config.ema_decay.map(Average::new),
        }
    }

    /// The state that was saved: its progress and [`Snapshot::moments`]. `trainable` has been made of the snapshot's
    /// adapter; where that is an average, its variables get their own values back.
    ///
    /// # Errors
    /// Moments that do not belong to the variables.
    pub fn resume(
        trainable: &Trainable,
        config: &TrainConfig,
        progress: Progress,
        mut moments: BTreeMap<String, Moments>,
    ) -> Result<Self, TrainError> {
        let vars = trainable.vars();
        // Steps that were passed over did not reach the optimiser.
        let steps = progress.steps.saturating_sub(progress.skipped);
        let resumed = |decay| Average::resume(decay, vars, &mut moments);
        let average = config.ema_decay.map(resumed).transpose()?;
        let (optim, decay) = (config.optim, config.weight_decay);
        let optimizer = Optimizer::resume(vars, optim, decay, steps, moments)?;
        Ok(Self {
            progress,
            optimizer,
            average,
        })
    }

    /// What the run has behind it.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// What the optimiser remembers, by variable.
    pub fn moments(&self) -> &BTreeMap<String, Moments> {
        self.optimizer.moments()
    }
}

/// The adapter and the state that belongs to it: what a checkpoint is made of.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The variables' values, or their average where [`TrainConfig::ema_decay`] asks for one, as [`Trainable::to_adapter`]
    /// gives them.
    pub adapter: Adapter,
    /// The rest.
    pub state: TrainState,
    /// With an average: the optimiser's memory, and the variables' own values.
    own: Option<BTreeMap<String, Moments>>,
}

impl Snapshot {
    /// A copy of how things stand.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn new(trainable: &Trainable, state: &TrainState) -> Result<Self, TrainError> {
        let (adapter, own) = match &state.average {
            None => (trainable.to_adapter()?, None),
            Some(average) => {
                let mut own = state.moments().clone();
                average.remember(trainable.vars(), &mut own)?;
                (average.adapter(trainable)?, Some(own))
            }
        };
        Ok(Self {
            adapter,
            state: state.clone(),
            own,
        })
    }

    /// What it takes to go on beside the adapter and the progress, by variable.
    pub fn moments(&self) -> &BTreeMap<String, Moments> {
        self.own.as_ref().unwrap_or_else(|| self.state.moments())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_the_first_of_the_best_and_patience_counts_what_is_not_better() {
        // As losses and, turned round, as scores.
        for (name, sign) in [("loss", 1.0), ("token_f1", -1.0)] {
            let config = TrainConfig {
                early_stopping_patience: Some(2),
                metric_for_best_model: name.into(),
                ..TrainConfig::default()
            };
            let mut progress = Progress::default();
            let mut seen = Vec::new();
            for value in [3.0, 2.0, 2.0, 2.5, 1.0] {
                progress.steps += 10;
                let record = EvalRecord {
                    step: progress.steps,
                    eval_loss: if sign > 0.0 { value } else { 0.0 },
                    perplexity: 1.0,
                    eval_tokens: 1,
                    metrics: Measures::from([("eval_token_f1".into(), sign * value)]),
                };
                let gained = progress.evaluated(record, &config);
                seen.push((gained, progress.patience_is_over(&config)));
            }
            let expected = [
                (true, false),
                (true, false),
                (false, false),
                (false, true),
                (true, false),
            ];
            assert_eq!(seen, expected);
            let best = Best {
                step: 50,
                metric: format!("eval_{name}"),
                value: sign,
                eval_loss: if sign > 0.0 { 1.0 } else { 0.0 },
            };
            assert_eq!(progress.best, Some(best));
            assert!(!progress.patience_is_over(&TrainConfig::default()));
        }
    }
}
