//! Fine-tune with LoRA: rows in, an adapter in PEFT's format out.
//!
//! The stage reads the model and the rows, leaves the mathematics to the `lora` crate, and looks
//! after everything around it: rows that are too long are counted, every optimiser step is a line
//! in `train_log.jsonl` at once, Ctrl-C keeps what was learnt, and `manifest.json` says what the
//! adapter was made from and whether the run is complete.

#![forbid(unsafe_code)]

mod args;
mod model;
mod record;
mod rows;
mod start;
mod summary;

use std::path::Path;

use loader::LoadError;
use lora::{Adapter, LearningRate, TrainConfig, TrainError, TrainOutcome};
use stage::{Manifest, OrExit, StageError, interrupt};

pub use args::{Args, BatchingArg, Compat, EngineArg, KeepArg, OnTruncate, Precision};
pub use rows::RowCounts;
pub use summary::Summary;

use model::Model;
use record::{LOG_FILE, Recorder};
use rows::Encoded;

const MANIFEST_FILE: &str = "manifest.json";

/// Runs the stage and prints what came of it.
///
/// # Errors
/// As [`fine_tune`]; also when standard output cannot be written.
pub fn run(args: &Args) -> Result<(), StageError> {
    let summary = fine_tune(args)?;
    if args.json {
        stage::emit_json(&summary)
    } else {
        stage::emit(&summary.text())
    }
}

/// Does the work of the stage and prints nothing on standard output.
///
/// # Errors
/// Exit code 2 for flags that contradict each other or the initial adapter, 3 for rows or models
/// that cannot be read or used, 130 after Ctrl-C (what was learnt is saved and marked incomplete),
/// 1 when training or writing fails.
pub fn fine_tune(args: &Args) -> Result<Summary, StageError> {
    interrupt::install();
    let config = args.train_config();
    config.check().map_err(train_error)?;
    start::new_config(args).checked().or_usage()?;
    let opened = loader::open(&args.model())
        .map_err(load_error)?
        .with_system(args.system.clone().filter(|text| !text.is_empty()))
        .with_date(args.date);
    let start = start::adapter(args, &opened)?;

    let context = opened.config().max_position_embeddings;
    let encode = |path: &Path| rows::encode_file(path, opened.prompter(), args, context);
    let train_rows = encode(&args.train_csv)?;
    say(&train_rows.counts.text("training"));
    let eval_file = args.eval_file();
    let eval_rows = eval_file.as_deref().map(encode).transpose()?;

    let mut manifest = summary::manifest(args, &start);
    manifest.model = Some(opened.description().to_owned());
    manifest.template = Some(opened.prompter().template_hash());
    manifest.adapter = args.init_adapter.as_ref().map(|p| p.display().to_string());
    let mut inputs = opened.weight_files().map_err(load_error)?;
    inputs.push(args.train_csv.clone());
    inputs.extend(eval_file);
    inputs.extend(
        args.init_adapter
            .as_ref()
            .map(|dir| dir.join(lora::WEIGHTS_FILE)),
    );
    for path in inputs {
        manifest.add_input(&path)?;
    }
    let counts = (
        train_rows.counts.clone(),
        eval_rows.as_ref().map(|r| r.counts.clone()),
    );
    stage::create_folder(&args.output_dir)?;
    // Until the run is over, the folder says that it is not.
    let begun = manifest.clone().fact("complete", false).fact("steps", 0);
    begun.write(&args.output_dir.join(MANIFEST_FILE))?;

    let mut model = Model::load(args, opened)?;
    let (outcome, trained, seconds) = learn(
        args,
        &config,
        &mut model,
        &start,
        &train_rows,
        eval_rows.as_ref(),
    )?;
    save(args, &trained, &outcome, manifest, &counts.0)?;
    if !outcome.complete {
        return Err(StageError::interrupted(how_to_go_on(args, &outcome)));
    }
    Ok(Summary::new(
        &args.output_dir,
        outcome,
        &trained,
        seconds,
        counts,
    ))
}

/// Trains, recording every step; returns what was learnt, also when it was interrupted.
fn learn(
    args: &Args,
    config: &TrainConfig,
    model: &mut Model,
    start: &Adapter,
    train_rows: &Encoded,
    eval_rows: Option<&Encoded>,
) -> Result<(TrainOutcome, Adapter, f64), StageError> {
    let trainable = model.attach(start)?;
    let rows = &train_rows.samples;
    let steps = lora::planned_steps(rows, config).map_err(train_error)?;
    warn_if_nothing_moves(config, steps);
    let mut recorder = Recorder::start(&args.output_dir, steps, args.logging_steps)?;
    let eval_rows = eval_rows.map_or(&[][..], |encoded| &encoded.samples);
    let mut hear = |event| recorder.hear(event);
    let outcome = lora::train(
        model.engine(),
        &trainable,
        rows,
        eval_rows,
        config,
        &mut hear,
    );
    let seconds = recorder.finish()?;
    let outcome = outcome.map_err(train_error)?;
    Ok((outcome, trainable.to_adapter().or_failed()?, seconds))
}

/// Writes the adapter and the manifest that belongs to it.
fn save(
    args: &Args,
    trained: &Adapter,
    outcome: &TrainOutcome,
    manifest: Manifest,
    counts: &RowCounts,
) -> Result<(), StageError> {
    let folder = &args.output_dir;
    let mut manifest = manifest
        .fact("complete", outcome.complete)
        .fact("steps", outcome.steps)
        .fact("planned_steps", outcome.planned_steps)
        .fact("loss", outcome.loss)
        .fact("eval_loss", outcome.eval_loss)
        .fact("train_rows", serde_json::to_value(counts).or_failed()?);
    if outcome.complete || outcome.steps > 0 {
        trained.save(folder).or_failed()?;
        for name in [lora::CONFIG_FILE, lora::WEIGHTS_FILE, LOG_FILE] {
            manifest.add_output(&folder.join(name))?;
        }
    }
    manifest.write(&folder.join(MANIFEST_FILE))
}

fn how_to_go_on(args: &Args, outcome: &TrainOutcome) -> String {
    let (folder, done) = (args.output_dir.display(), outcome.steps);
    let left = outcome.planned_steps - done;
    if done == 0 {
        return "interrupted before the first step; nothing was saved".into();
    }
    format!(
        "interrupted after {done} of {} steps; the adapter so far is in {folder}. Go on from it with \
         --init-adapter {folder} --max-steps {left} (the optimiser starts afresh)",
        outcome.planned_steps
    )
}

/// transformers gives the first update of a warm-up the rate 0: a run of one step learns nothing.
fn warn_if_nothing_moves(config: &TrainConfig, steps: usize) {
    let (peak, ratio) = (config.learning_rate, config.warmup_ratio);
    let rates = LearningRate::new(peak, config.schedule, ratio, steps);
    if (0..steps).all(|step| rates.at(step) == 0.0) {
        say(
            "note: the learning rate of every step is 0 (the first step of a warm-up has rate 0); \
             pass --warmup-ratio 0 or more steps",
        );
    }
}

/// Each error of the loader with the exit code that it deserves.
fn load_error(error: LoadError) -> StageError {
    if error.is_usage() {
        StageError::usage(error)
    } else {
        StageError::bad_data(error)
    }
}

/// Each error of the trainer with the exit code that it deserves.
fn train_error(error: TrainError) -> StageError {
    match error {
        TrainError::Setting { .. } => StageError::usage(error),
        TrainError::NoRows | TrainError::Row { .. } => StageError::bad_data(error),
        _ => StageError::failed(error),
    }
}

/// A line for people. A closed standard error is no reason to stop.
fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
