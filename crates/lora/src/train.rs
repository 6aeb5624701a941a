//! The training loop.

use crate::engine::Engine;
use crate::error::TrainError;
use crate::events::{EvalRecord, StepRecord, TrainEvent, TrainOutcome};
use crate::gradients::Gradients;
use crate::plan::{MicroBatch, Plan};
use crate::rng::Key;
use crate::sample::{Packed, Sample, check_all};
use crate::schedule::LearningRate;
use crate::settings::TrainConfig;
use crate::trainable::{Trainable, without_graph};
use candle_core::backprop::GradStore;
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use smollm_model::{Llama, Mode};
use std::ops::ControlFlow;
use std::time::Instant;

type OnEvent<'a> = &'a mut dyn FnMut(TrainEvent) -> ControlFlow<()>;

/// Trains the variables of `trainable`: those that [`Trainable::attach`] put into a [`Llama`], or those that
/// [`Trainable::beside`] made for a [`TrainingLlama`](smollm_model::TrainingLlama).
///
/// For each update: the gradients of `sum of NLL / supervised tokens` over the whole window, clipped
/// by their global norm, then AdamW (betas 0.9 and 0.999, eps 1e-8). The split into micro-batches
/// changes memory and speed, not the result. `on_event` hears of every micro-batch, update and
/// evaluation, and may end the run.
///
/// # Errors
/// A setting out of range, a row that cannot be trained on, a loss or gradient that is not finite
/// (the error names step and tensor; the variables keep the values of the step before).
pub fn train<'a>(
    model: impl Into<Engine<'a>>,
    trainable: &Trainable,
    rows: &[Sample],
    eval_rows: &[Sample],
    config: &TrainConfig,
    on_event: OnEvent<'_>,
) -> Result<TrainOutcome, TrainError> {
    let planned_steps = planned_steps(rows, config)?;
    let engine = model.into();
    check_all("training", rows, engine.config())?;
    check_all("evaluation", eval_rows, engine.config())?;
    let mut run = Run {
        trainable,
        engine,
        rows,
        eval_rows,
        config,
        optimizer: optimizer(trainable, config)?,
    };
    let mut outcome = TrainOutcome {
        steps: 0,
        planned_steps,
        complete: false,
        loss: None,
        eval_loss: None,
        tokens: 0,
    };
    let _stopped_or_done = run.all_steps(&mut outcome, on_event)?;
    Ok(outcome)
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

/// Token-weighted mean negative log-likelihood of the rows, adapter included, dropout off.
///
/// # Errors
/// No rows, or a row that the model cannot read.
pub fn evaluate(
    model: &Llama,
    rows: &[Sample],
    batch_size: usize,
    on_event: OnEvent<'_>,
) -> Result<ControlFlow<(), (f64, usize)>, TrainError> {
    if rows.is_empty() {
        return Err(TrainError::NoRows);
    }
    check_all("evaluation", rows, model.config())?;
    let model = without_graph(model);
    let mut nll = |batch: &Packed| {
        let nll = batch.nll(&model, Mode::Eval)?;
        Ok(f64::from(nll.to_scalar::<f32>()?))
    };
    mean_nll(&mut nll, rows, batch_size, on_event)
}

fn plan(rows: &[Sample], config: &TrainConfig) -> Plan {
    Plan::new(rows.iter().map(|row| row.ids.len()).collect(), config)
}

fn optimizer(trainable: &Trainable, config: &TrainConfig) -> Result<AdamW, TrainError> {
    let params = ParamsAdamW {
        lr: config.learning_rate,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: config.weight_decay,
    };
    let vars = trainable.vars().values().cloned().collect();
    Ok(AdamW::new(vars, params)?)
}

fn mean_nll(
    nll: &mut dyn FnMut(&Packed) -> Result<f64, TrainError>,
    rows: &[Sample],
    batch_size: usize,
    on_event: OnEvent<'_>,
) -> Result<ControlFlow<(), (f64, usize)>, TrainError> {
    let (mut sum, mut supervised) = (0.0, 0);
    for rows in rows.chunks(batch_size.max(1)) {
        let batch = Packed::new(rows.iter())?;
        sum += nll(&batch)?;
        supervised += batch.supervised();
        let tokens = batch.tokens;
        if on_event(TrainEvent::Batch { tokens }).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue((sum / supervised as f64, supervised)))
}

/// Everything that stays the same during a run, and the optimiser.
struct Run<'a> {
    trainable: &'a Trainable,
    engine: Engine<'a>,
    rows: &'a [Sample],
    eval_rows: &'a [Sample],
    config: &'a TrainConfig,
    optimizer: AdamW,
}

/// One window's gradients and what to report of it.
struct Window<'a> {
    gradients: Gradients<'a>,
    loss: f64,
    supervised: usize,
    tokens: usize,
}

impl<'a> Run<'a> {
    /// All updates and evaluations; `Break` when the callback ended the run.
    fn all_steps(
        &mut self,
        outcome: &mut TrainOutcome,
        on_event: OnEvent<'_>,
    ) -> Result<ControlFlow<()>, TrainError> {
        let plan = plan(self.rows, self.config);
        let total = outcome.planned_steps;
        let (peak, ratio) = (self.config.learning_rate, self.config.warmup_ratio);
        let rates = LearningRate::new(peak, self.config.schedule, ratio, total);
        for step in 1..=total {
            let started = Instant::now();
            let ControlFlow::Continue(window) =
                self.window(step, &plan.window(step - 1), on_event)?
            else {
                return Ok(ControlFlow::Break(()));
            };
            let mut record = self.update(step, window, rates.at(step - 1))?;
            record.tokens_per_s = record.tokens as f64 / started.elapsed().as_secs_f64();
            outcome.steps = step;
            outcome.loss = Some(record.loss);
            outcome.tokens += record.tokens;
            let mut flow = on_event(TrainEvent::Step(record));
            if flow.is_continue() && self.evaluates_after(step, total) {
                flow = self.evaluation(step, outcome, on_event)?;
            }
            if flow.is_break() {
                outcome.complete = step == total;
                return Ok(flow);
            }
        }
        outcome.complete = true;
        Ok(ControlFlow::Continue(()))
    }

    fn evaluates_after(&self, step: usize, total: usize) -> bool {
        let due = self
            .config
            .eval_steps
            .is_some_and(|n| step.is_multiple_of(n));
        !self.eval_rows.is_empty() && (due || step == total)
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
            tokens: 0,
        };
        for (index, rows) in batches.iter().enumerate() {
            let batch = Packed::new(rows.iter().map(|&row| &self.rows[row]))?;
            let seed = self.dropout_seed(step, index);
            let (loss, grads) = self.micro_batch(step, rows, &batch, seed, supervised)?;
            window.loss += loss;
            window.tokens += batch.tokens;
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
        self.optimizer.set_learning_rate(lr);
        self.optimizer.step(&grads)?;
        Ok(StepRecord {
            step,
            loss: window.loss,
            grad_norm,
            lr,
            supervised_tokens: window.supervised,
            tokens: window.tokens,
            tokens_per_s: 0.0,
        })
    }

    fn evaluation(
        &mut self,
        step: usize,
        outcome: &mut TrainOutcome,
        on_event: OnEvent<'_>,
    ) -> Result<ControlFlow<()>, TrainError> {
        let batch_size = self.config.batch_size;
        let (engine, trainable) = (&mut self.engine, self.trainable);
        let mut nll = |batch: &Packed| engine.nll(trainable, batch);
        let scored = mean_nll(&mut nll, self.eval_rows, batch_size, on_event)?;
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
        outcome.eval_loss = Some(eval_loss);
        Ok(on_event(TrainEvent::Eval(EvalRecord {
            step,
            eval_loss,
            eval_tokens,
        })))
    }

    fn dropout_seed(&self, step: usize, micro_batch: usize) -> u64 {
        let key = Key::new(self.config.seed).name("dropout");
        key.number(step as u64).number(micro_batch as u64).bits(0)
    }
}
