//! Where a run stands after a whole step: what it takes to go on as if it had never stopped.
//!
//! The order of the rows and the dropout masks follow from (seed, epoch) and (seed, step,
//! micro-batch), so no random generator has a state. What is left is the step, the variables, the
//! optimiser's moments, and what the evaluations have shown so far.

use crate::adamw::{AdamW, AdamWConfig, Moments};
use crate::adapter::Adapter;
use crate::error::TrainError;
use crate::settings::TrainConfig;
use crate::trainable::Trainable;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The best evaluation of a run so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The update after which it was made.
    pub step: usize,
    /// Its loss.
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
    /// The best evaluation.
    pub best: Option<Best>,
    /// Evaluations since then.
    pub evaluations_without_gain: usize,
}

impl Progress {
    /// Takes in an evaluation; whether it is the best so far.
    pub(crate) fn evaluated(&mut self, eval_loss: f64) -> bool {
        self.eval_loss = Some(eval_loss);
        let gained = self.best.is_none_or(|best| eval_loss < best.eval_loss);
        if gained {
            let step = self.steps;
            self.best = Some(Best { step, eval_loss });
            self.evaluations_without_gain = 0;
        } else {
            self.evaluations_without_gain += 1;
        }
        gained
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
    pub(crate) optimizer: AdamW,
}

impl TrainState {
    /// The state before the first step.
    pub fn new(trainable: &Trainable, config: &TrainConfig) -> Self {
        Self {
            progress: Progress {
                settled: true,
                ..Progress::default()
            },
            optimizer: AdamW::new(trainable.vars(), optimizer(config)),
        }
    }

    /// The state that was saved: its progress and the optimiser's moments by variable.
    ///
    /// # Errors
    /// Moments that do not belong to the variables.
    pub fn resume(
        trainable: &Trainable,
        config: &TrainConfig,
        progress: Progress,
        moments: BTreeMap<String, Moments>,
    ) -> Result<Self, TrainError> {
        let vars = trainable.vars();
        let optimizer = AdamW::resume(vars, optimizer(config), progress.steps, moments)?;
        Ok(Self {
            progress,
            optimizer,
        })
    }

    /// What the run has behind it.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The optimiser's moments, by variable.
    pub fn moments(&self) -> &BTreeMap<String, Moments> {
        self.optimizer.moments()
    }
}

/// Betas and eps as torch, transformers and the original have them.
fn optimizer(config: &TrainConfig) -> AdamWConfig {
    AdamWConfig {
        weight_decay: config.weight_decay,
        ..AdamWConfig::default()
    }
}

/// The adapter and the state that belongs to it: what a checkpoint is made of.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The variables' values.
    pub adapter: Adapter,
    /// The rest.
    pub state: TrainState,
}

impl Snapshot {
    /// A copy of how things stand.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn new(trainable: &Trainable, state: &TrainState) -> Result<Self, TrainError> {
        Ok(Self {
            adapter: trainable.to_adapter()?,
            state: state.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_the_first_of_the_lowest_and_patience_counts_what_is_not_better() {
        let config = TrainConfig {
            early_stopping_patience: Some(2),
            ..TrainConfig::default()
        };
        let mut progress = Progress::default();
        let mut seen = Vec::new();
        for loss in [3.0, 2.0, 2.0, 2.5, 1.0] {
            progress.steps += 10;
            let gained = progress.evaluated(loss);
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
        let (step, eval_loss) = (50, 1.0);
        assert_eq!(progress.best, Some(Best { step, eval_loss }));
        assert!(!progress.patience_is_over(&TrainConfig::default()));
    }
}
