//! The training loop.

mod due;

use crate::engine::Engine;
use crate::error::TrainError;
use crate::evaluation::Evaluation;
use crate::events::{SkipRecord, StepRecord, TrainEvent, TrainOutcome};
use crate::gradients::Gradients;
use crate::plan::{MicroBatch, Plan};
use crate::rng::Key;
use crate::sample::{Packed, Sample, check_all};
use crate::settings::{OnNan, TrainConfig};
use crate::state::TrainState;
use crate::trainable::Trainable;
use crate::workload::Load;
use candle_core::backprop::GradStore;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Instant;

pub(crate) type OnEvent<'a> = &'a mut dyn FnMut(TrainEvent) -> ControlFlow<()>;

/// Trains the variables of `trainable`: those that [`Trainable::attach`] put into a [`Llama`](smollm_model::Llama), or those that
/// [`Trainable::beside`] made for a [`TrainingLlama`](smollm_model::TrainingLlama).
///
/// For each update: the gradients of `sum of NLL / supervised tokens` over the whole window, clipped
/// by their global norm, then the update of [`TrainConfig::optim`]. The split into
/// micro-batches changes memory and speed, not the result. `on_event` hears of every micro-batch,
/// update, evaluation and checkpoint, and may end the run.
///
/// # Errors
/// A setting out of range, a row that cannot be trained on, a loss or gradient that is not finite
/// (the error names step and tensor; the variables keep the values of the step before), unless
/// [`OnNan::Skip`] passes over it.
pub fn train<'a>(
    model: impl Into<Engine<'a>>,
    trainable: &Trainable,
    rows: &[Sample],
    eval_rows: &[Sample],
    config: &TrainConfig,
    on_event: OnEvent<'_>,
) -> Result<TrainOutcome, TrainError> {
    let mut state = TrainState::new(trainable, config);
    let mut engine: Engine<'a> = model.into();
    train_from(
        engine.reborrow(),
        trainable,
        &mut state,
        rows,
        eval_rows,
        config,
        on_event,
    )
}

/// As [`train`], from a state on: that of a new run, or the one that a [`Snapshot`](crate::Snapshot) kept. With the
/// snapshot's adapter, the same rows and the same settings, what comes out has the bytes of a run
/// that never stopped. Afterwards `state` is that of the last whole step, whatever ended the run.
/// What is measured beside the evaluation rows' loss is [`Evaluation::with_scorer`]'s.
///
/// # Errors
/// As [`train`]; also a state that is further than the run is long.
pub fn train_from<'a>(
    model: impl Into<Engine<'a>>,
    trainable: &'a Trainable,
    state: &'a mut TrainState,
    rows: &'a [Sample],
    evaluation: impl Into<Evaluation<'a>>,
    config: &'a TrainConfig,
    on_event: OnEvent<'_>,
) -> Result<TrainOutcome, TrainError> {
    let total = planned_steps(rows, config)?;
    let (engine, evaluation) = (model.into(), evaluation.into());
    check_all("training", rows, engine.config())?;
    check_all("evaluation", evaluation.rows, engine.config())?;
    evaluation.check(config)?;
    let steps = state.progress.steps;
    if steps > total {
        return Err(TrainError::Beyond {
            steps,
            planned: total,
            remedy: "resume with the settings it was saved with",
        });
    }
    let mut run = Run {
        trainable,
        engine,
        rows,
        evaluation,
        config,
        state,
    };
    let ended = run.all_steps(total, on_event)?;
    let progress = run.state.progress.clone();
    Ok(TrainOutcome {
        steps: progress.steps,
        planned_steps: total,
        complete: ended != Ended::Stopped,
        stopped_early: ended == Ended::Early,
        loss: progress.loss,
        eval_loss: progress.eval_loss,
        eval_metrics: progress.eval_metrics,
        best: progress.best,
        tokens: progress.tokens,
        skipped: progress.skipped,
    })
}

/// How many updates [`train`] will make for these rows.
///
/// # Errors
/// A setting out of range, or no rows.
pub fn planned_steps(rows: &[Sample], config: &TrainConfig) -> Result<usize, TrainError> {
    config.check()?;
    if rows.is_empty() {
        return Err(TrainError::NoRows);
    }
    let steps = plan(rows, config).steps(config.epochs);
    Ok(config.max_steps.unwrap_or(steps))
}

pub(crate) fn plan(rows: &[Sample], config: &TrainConfig) -> Plan {
    Plan::new(rows.iter().map(|row| row.ids.len()).collect(), config)
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// All steps are made.
    Whole,
    /// Evaluations no longer got better.
    Early,
    /// The callback did not want more.
    Stopped,
}

/// Everything that stays the same during a run, and its state.
struct Run<'a> {
    trainable: &'a Trainable,
    engine: Engine<'a>,
    rows: &'a [Sample],
    evaluation: Evaluation<'a>,
    config: &'a TrainConfig,
    state: &'a mut TrainState,
}

/// One window's gradients and what to report of it.
struct Window<'a> {
    gradients: Gradients<'a>,
    loss: f64,
    supervised: usize,
    load: Load,
}

impl<'a> Run<'a> {
    /// All updates, evaluations and checkpoints that are still to come.
    fn all_steps(&mut self, total: usize, on_event: OnEvent<'_>) -> Result<Ended, TrainError> {
        let plan = plan(self.rows, self.config);
        let rates = self.config.learning_rates(total);
        loop {
            if self.settle(total, on_event)?.is_break() {
                return Ok(Ended::Stopped);
            }
            if self.state.progress.patience_is_over(self.config) {
                return Ok(Ended::Early);
            }
            let done = self.state.progress.steps;
            if done == total {
                return Ok(Ended::Whole);
            }
            let batches = plan.window(done);
            let made = self.step(done + 1, &batches, rates.at(done), on_event);
            let event = match made {
                Ok(ControlFlow::Break(())) => return Ok(Ended::Stopped),
                Ok(ControlFlow::Continue(record)) => {
                    self.state.progress.made(&record);
                    TrainEvent::Step(record)
                }
                Err(error) => TrainEvent::Skipped(self.skip(done + 1, error)?),
            };
            let progress = &mut self.state.progress;
            progress.steps = done + 1;
            (progress.epoch, progress.window) = plan.position(done + 1);
            progress.settled = false;
            if on_event(event).is_break() {
                let settled = self.settled(total);
                self.state.progress.settled = settled;
                let last = settled && done + 1 == total;
                return Ok(if last { Ended::Whole } else { Ended::Stopped });
            }
        }
    }

    /// One window and its update.
    fn step(
        &mut self,
        step: usize,
        batches: &[MicroBatch],
        rate: f64,
        on_event: OnEvent<'_>,
    ) -> Result<ControlFlow<(), StepRecord>, TrainError> {
        let started = Instant::now();
        let ControlFlow::Continue(window) = self.window(step, batches, on_event)? else {
            return Ok(ControlFlow::Break(()));
        };
        let mut record = self.update(step, window, rate)?;
        let seconds = started.elapsed().as_secs_f64();
        record.tokens_per_s = record.tokens as f64 / seconds;
        record.gflops /= seconds;
        Ok(ControlFlow::Continue(record))
    }

    /// Passes over a step whose loss or gradient is no number, where that is wanted and has not happened too often;
    /// neither variables nor moments have moved.
    fn skip(&mut self, step: usize, error: TrainError) -> Result<SkipRecord, TrainError> {
        let (TrainError::NotFinite { what, value, .. }, OnNan::Skip { in_a_row }) =
            (&error, self.config.on_nan)
        else {
            return Err(error);
        };
        let progress = &mut self.state.progress;
        if progress.skipped_in_a_row >= in_a_row {
            return Err(TrainError::Skipped {
                in_a_row,
                source: Box::new(error),
            });
        }
        progress.skipped += 1;
        progress.skipped_in_a_row += 1;
        Ok(SkipRecord {
            step,
            skipped: format!("{what} is {value}"),
        })
    }

    /// Sums loss and gradients over the micro-batches of one window.
    fn window(
        &mut self,
        step: usize,
        batches: &[MicroBatch],
        on_event: OnEvent<'_>,
    ) -> Result<ControlFlow<(), Window<'a>>, TrainError> {
        let labels = |&row: &usize| self.rows[row].labels.len();
        let supervised: usize = batches.iter().flatten().map(labels).sum();
        let mut window = Window {
            gradients: Gradients::new(self.trainable.vars(), step),
            loss: 0.0,
            supervised,
            load: Load::default(),
        };
        for (index, rows) in batches.iter().enumerate() {
            let batch = self.packed(step, index, rows)?;
            let seed = self.seed("dropout", step, index);
            let (loss, grads) = self.micro_batch(step, rows, &batch, seed, supervised)?;
            window.loss += loss;
            window.load += Load::of(rows.iter().map(|&row| &self.rows[row]));
            window.gradients.add(grads)?;
            let tokens = batch.tokens;
            if on_event(TrainEvent::Batch { tokens }).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(window))
    }

    /// A micro-batch's share of the window's loss, and its gradients.
    fn micro_batch(
        &mut self,
        step: usize,
        rows: &[usize],
        batch: &Packed,
        dropout_seed: u64,
        supervised: usize,
    ) -> Result<(f64, GradStore), TrainError> {
        let factor = 1.0 / supervised as f64;
        let engine = &mut self.engine;
        let (value, grads) = engine.gradients(self.trainable, batch, dropout_seed, factor)?;
        if !value.is_finite() {
            return Err(TrainError::NotFinite {
                step,
                what: format!("the loss of training rows {rows:?}"),
                value,
            });
        }
        Ok((value / supervised as f64, grads))
    }

    fn update(
        &mut self,
        step: usize,
        window: Window<'_>,
        lr: f64,
    ) -> Result<StepRecord, TrainError> {
        let (grad_norm, grads) = window.gradients.clip(self.config.max_grad_norm)?;
        let vars = self.trainable.vars();
        let mut flat = BTreeMap::new();
        for (name, var) in vars {
            if let Some(grad) = grads.get(var) {
                flat.insert(name.as_str(), grad.flatten_all()?.to_vec1::<f32>()?);
            }
        }
        let gradient = |name: &str| flat.get(name).map(Vec::as_slice);
        let rate = |name: &str| lr * self.config.rate_factor(name);
        self.state.optimizer.step(vars, gradient, rate)?;
        if let Some(average) = &mut self.state.average {
            average.update(vars)?;
        }
        Ok(StepRecord {
            step,
            loss: window.loss,
            grad_norm,
            lr,
            supervised_tokens: window.supervised,
            tokens: window.load.tokens,
            // Both become rates once the time is known.
            tokens_per_s: 0.0,
            gflops: self.engine.flops(self.trainable, window.load) / 1e9,
        })
    }

    /// A micro-batch's rows, with noise where that is wanted.
    fn packed(&self, step: usize, index: usize, rows: &[usize]) -> Result<Packed, TrainError> {
        let batch = Packed::new(rows.iter().map(|&row| &self.rows[row]))?;
        let alpha = self.config.neftune_noise_alpha.unwrap_or(0.0);
        let hidden = self.engine.config().hidden_size;
        batch.noisy(self.seed("neftune", step, index), alpha, hidden)
    }

    /// What a micro-batch's masks, or its noise, follow from.
    fn seed(&self, what: &str, step: usize, micro_batch: usize) -> u64 {
        let key = Key::new(self.config.seed).name(what);
        key.number(step as u64).number(micro_batch as u64).bits(0)
    }
}
