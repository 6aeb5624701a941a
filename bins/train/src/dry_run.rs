//! `--dry-run`: the plan of a run, with a batch measured for the time.

use std::ops::ControlFlow;
use std::time::Instant;

use lora::{Sample, TrainConfig, TrainEvent, TrainState};
use stage::{OrExit, StageError, interrupt};

use crate::args::Args;
use crate::choices::BatchingArg;
use crate::model::Model;
use crate::plan::Plan;
use crate::prepared::Prepared;
use crate::train_error;

/// Prints the plan, and refuses a run that does not fit.
pub(crate) fn run(args: &Args) -> Result<(), StageError> {
    interrupt::install();
    let config = args.train_config();
    let prepared = Prepared::new(args)?;
    let mut plan = Plan::new(&prepared.planning(args, &config, 0))?;
    let fits = plan.check(&prepared.planning(args, &config, 0));
    if fits.is_ok() && !args.no_probe {
        let rows = typical_batch(args, &prepared.rows.samples);
        let planning = prepared.planning(args, &config, 0);
        let flops = planning.gradient_flops(&rows, plan.checkpointing());
        let start = prepared.start.clone();
        let mut model = Model::load(args, prepared.device, plan.checkpointing(), prepared.opened)?;
        let seconds = measure(&mut model, &start, &rows, &config)?;
        plan.measured(flops, seconds);
    }
    if args.json {
        stage::emit_json(&plan)?;
    } else {
        stage::emit(&plan.text())?;
    }
    fits
}

/// Rows of about the median length, as many as go together.
fn typical_batch(args: &Args, rows: &[Sample]) -> Vec<Sample> {
    let mut order: Vec<&Sample> = rows.iter().collect();
    order.sort_by_key(|row| row.ids.len());
    let median = order[order.len() / 2].ids.len();
    let together = match args.batching {
        BatchingArg::Packed => args.pack_tokens.unwrap_or(args.max_seq_len) / median,
        BatchingArg::Shuffled | BatchingArg::Bucketed => args.bs,
    };
    let together = together.clamp(1, order.len());
    let first = (order.len() - together) / 2;
    let rows = order[first..].iter().take(together);
    rows.map(|row| (*row).clone()).collect()
}

/// Seconds that loss and gradients of a batch take, the second time: the first time memory is new.
fn measure(
    model: &mut Model,
    start: &lora::Adapter,
    batch: &[Sample],
    config: &TrainConfig,
) -> Result<f64, StageError> {
    let twice = [batch, batch].concat();
    let alone = TrainConfig {
        max_steps: Some(1),
        batch_size: batch.len(),
        accumulation: 2,
        batching: lora::Batching::Shuffled,
        shuffle: false,
        seed: config.seed,
        ..TrainConfig::default()
    };
    let trainable = model.attach(start).or_failed()?;
    let mut state = TrainState::new(&trainable, &alone);
    let mut times = Vec::new();
    let mut hear = |event| {
        if matches!(event, TrainEvent::Batch { .. }) {
            times.push(Instant::now());
        }
        if times.len() == 2 || interrupt::requested() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let no_rows: &[Sample] = &[];
    let ended = lora::train_from(
        model.engine(),
        &trainable,
        &mut state,
        &twice,
        no_rows,
        &alone,
        &mut hear,
    );
    ended.map_err(train_error)?;
    match times.as_slice() {
        [first, second] => Ok((*second - *first).as_secs_f64().max(1e-9)),
        _ => Err(StageError::interrupted("interrupted while measuring")),
    }
}
