//! What is due after a step: an evaluation, a checkpoint.

use super::{OnEvent, Run};
use crate::error::TrainError;
use crate::evaluation::mean_nll;
use crate::events::{EvalRecord, TrainEvent};
use crate::sample::Packed;
use crate::state::Snapshot;
use std::ops::ControlFlow;

impl Run<'_> {
    /// Does what is due after a step: first the evaluation, then the checkpoint.
    pub(super) fn settle(
        &mut self,
        total: usize,
        on_event: OnEvent<'_>,
    ) -> Result<ControlFlow<()>, TrainError> {
        if self.state.progress.settled {
            return Ok(ControlFlow::Continue(()));
        }
        let mut keep = self.saves_after(self.state.progress.steps);
        if self.evaluates_after(self.state.progress.steps, total) {
            let ControlFlow::Continue(gained) = self.evaluation(on_event)? else {
                return Ok(ControlFlow::Break(()));
            };
            keep |= gained && self.config.load_best_model_at_end;
        }
        self.state.progress.settled = true;
        if !keep {
            return Ok(ControlFlow::Continue(()));
        }
        let snapshot = Snapshot::new(self.trainable, self.state)?;
        Ok(on_event(TrainEvent::Checkpoint(Box::new(snapshot))))
    }

    /// Whether nothing is due after the last step.
    pub(super) fn settled(&self, total: usize) -> bool {
        let step = self.state.progress.steps;
        !self.evaluates_after(step, total) && !self.saves_after(step)
    }

    fn saves_after(&self, step: usize) -> bool {
        let interval = self.config.save_steps;
        interval.is_some_and(|n| step.is_multiple_of(n))
    }

    fn evaluates_after(&self, step: usize, total: usize) -> bool {
        let due = self
            .config
            .eval_steps
            .is_some_and(|n| step.is_multiple_of(n));
        !self.evaluation.rows.is_empty() && (due || step == total)
    }

    /// Scores the evaluation rows with what the run would keep; whether this is the best score so far.
    fn evaluation(&mut self, on_event: OnEvent<'_>) -> Result<ControlFlow<(), bool>, TrainError> {
        match self.state.average.take() {
            None => self.evaluate(on_event),
            Some(average) => {
                let trainable = self.trainable;
                let scored = average.lend(trainable.vars(), || self.evaluate(on_event));
                self.state.average = Some(average);
                scored
            }
        }
    }

    /// Scores the evaluation rows with the variables as they are.
    fn evaluate(&mut self, on_event: OnEvent<'_>) -> Result<ControlFlow<(), bool>, TrainError> {
        let (step, batch_size) = (self.state.progress.steps, self.config.batch_size);
        let (engine, trainable) = (&mut self.engine, self.trainable);
        let mut nll = |batch: &Packed| engine.nll(trainable, batch);
        let scored = mean_nll(&mut nll, self.evaluation.rows, batch_size, on_event)?;
        let ControlFlow::Continue((eval_loss, eval_tokens)) = scored else {
            return Ok(ControlFlow::Break(()));
        };
        if !eval_loss.is_finite() {
            return Err(TrainError::NotFinite {
                step,
                what: "the evaluation loss".into(),
                value: eval_loss,
            });
        }
        let ControlFlow::Continue(metrics) = self.evaluation.measures(self.trainable, step)? else {
            return Ok(ControlFlow::Break(()));
        };
        let record = EvalRecord {
            step,
            eval_loss,
            // The largest number instead of an infinity, which JSON cannot say.
            perplexity: eval_loss.exp().min(f64::MAX),
            eval_tokens,
            metrics,
        };
        let flow = on_event(TrainEvent::Eval(record.clone()));
        Ok(match flow {
            ControlFlow::Continue(()) => {
                ControlFlow::Continue(self.state.progress.evaluated(record, self.config))
            }
            ControlFlow::Break(()) => ControlFlow::Break(()),
        })
    }
}
