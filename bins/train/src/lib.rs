//! Fine-tune with LoRA: rows in, an adapter in PEFT's format out.
//!
//! The stage reads the model and the rows, leaves the mathematics to the `lora` crate, and looks
//! after everything around it: rows that are too long are counted, every optimiser step is a line
//! in `train_log.jsonl` at once, Ctrl-C keeps what was learnt and a checkpoint from which the run can
//! go on as if nothing had been, and `manifest.json` says what the adapter was made from and whether
//! the run is complete.

#![forbid(unsafe_code)]

mod args;
mod choices;
mod device;
mod dry_run;
mod keep;
mod machine;
mod model;
mod optim;
mod plan;
mod prepared;
mod record;
mod rows;
mod scorer;
mod start;
mod summary;
mod tensorboard;
mod view;

use lora::{
    Adapter, Checkpoint, Evaluation, Residual, Scorer, Settings, Snapshot, TrainConfig, TrainError,
    TrainOutcome, TrainState, Trainable,
};
use stage::{Manifest, OrExit, StageError, interrupt};

pub use args::Args;
pub use loader::DeviceArg;

pub use choices::{
    BatchingArg, Compat, EngineArg, KeepArg, OnNanArg, OnTruncate, Precision, QuantizeArg, ReportTo,
};
pub use machine::Bytes;
pub use model::Base;
pub use optim::{OptimArg, OptimArgs};
pub use plan::{MemoryPlan, Plan};
pub use rows::RowCounts;
pub use summary::Summary;

use keep::Keeper;
use model::{Loaded, Model};
use prepared::Prepared;
use record::{LOG_FILE, Recorder};
use rows::Encoded;
use scorer::{AnswerScorer, Questions};

const MANIFEST_FILE: &str = "manifest.json";

/// Runs the stage and prints what came of it.
///
/// # Errors
/// As [`fine_tune`]; also when standard output cannot be written.
pub fn run(args: &Args) -> Result<(), StageError> {
    run_on(&mut Base::default(), args)
}

/// As [`run`], with the base model that an earlier run has loaded, where it is the same, and leaving it for a later one.
///
/// # Errors
/// As [`run`].
pub fn run_on(base: &mut Base, args: &Args) -> Result<(), StageError> {
    if args.dry_run {
        return dry_run::run(args);
    }
    let summary = fine_tune_on(base, args)?;
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
    fine_tune_on(&mut Base::default(), args)
}

/// Whether flags contradict each other, as far as that can be told without reading a file.
///
/// # Errors
/// Exit code 2, with the first that does.
pub fn check(args: &Args) -> Result<(), StageError> {
    args.train_config().check().map_err(train_error)?;
    args.optim.check()?;
    start::new_config(args)?;
    device::check(args)?;
    if args.quantize.is_some() && args.engine == EngineArg::Autograd {
        return Err(StageError::usage(
            "--quantize needs --engine packed: the differentiable model has no quantised weights",
        ));
    }
    Ok(())
}

/// As [`fine_tune`], on a base that may be loaded already.
fn fine_tune_on(base: &mut Base, args: &Args) -> Result<Summary, StageError> {
    interrupt::install();
    let config = args.train_config();
    let prepared = Prepared::new(args)?;
    let (manifest, settings) = identity(args, &prepared)?;
    let files = settings[keep::MODEL_FILES].clone();
    let device = prepared.device;
    let wanted = Loaded::new(args, device, manifest.model.clone(), files);
    // What cannot serve goes before anything takes its place: there may be no room for both.
    if !base.has(&wanted) {
        *base = Base::default();
    }
    let planning = prepared.planning(args, &config, base.held(&wanted));
    let plan = Plan::new(&planning)?;
    plan.check(&planning)?;
    say(&plan.text());
    start::advise(args);
    let counts = prepared.counts();
    stage::create_folder(&args.output_dir)?;
    let keeper = Keeper::new(args, settings);
    let mut found = keeper.find(args)?;
    let done = found.as_ref().map_or(0, |found| found.progress.steps);
    // Until the run is over, the folder says that it is not.
    let begun = manifest.clone().fact("complete", false).fact("steps", done);
    begun.write(&args.output_dir.join(MANIFEST_FILE))?;

    let Prepared {
        mut opened,
        mut start,
        rows,
        eval_rows,
        questions,
        ..
    } = prepared;
    let mut scorer = questions
        .map(|questions| AnswerScorer::load(questions, &opened))
        .transpose()?;
    // After the scorer, whose base is the whole one.
    let residual = start::residual(args, &mut opened, &mut start, found.as_mut())?;
    interrupt::check("the same command begins again")?;
    let model = base.take(&wanted, (args, device), plan.checkpointing(), opened)?;
    let job = Job {
        args,
        config: &config,
        keeper: &keeper,
        rows: &rows,
        eval_rows: eval_rows.as_ref(),
    };
    let scorer = scorer.as_mut().map(|scorer| scorer as &mut dyn Scorer);
    let (outcome, last, spent) = job.learn(model, scorer, (&start, residual), found)?;
    let (trained, loaded_best) = choose(args, &keeper, &outcome, last)?;
    let manifest = manifest.fact("loaded_best", loaded_best);
    save(args, &trained, &outcome, manifest, &counts.0)?;
    if !outcome.complete {
        return Err(StageError::interrupted(how_to_go_on(args, &outcome)));
    }
    keeper.finish()?;
    let learnt = start.parameters();
    let summary = Summary::new(&args.output_dir, outcome, learnt, spent, counts);
    Ok(Summary {
        loaded_best,
        device: device.name(),
        device_memory: model.device_memory(),
        ..summary
    })
}

/// The manifest of a run, and the settings by which its checkpoints know it again.
fn identity(args: &Args, prepared: &Prepared) -> Result<(Manifest, Settings), StageError> {
    let opened = &prepared.opened;
    let mut manifest = summary::manifest(args, &prepared.start, prepared.device);
    manifest.model = Some(opened.description().to_owned());
    manifest.template = Some(opened.prompter().template_hash());
    manifest.adapter = args.init_adapter.as_ref().map(|p| p.display().to_string());
    let mut decisive = opened.weight_files()?;
    let initial = args.init_adapter.as_ref();
    decisive.extend(initial.map(|dir| dir.join(lora::WEIGHTS_FILE)));
    let asked = prepared.questions.as_ref().map(Questions::fingerprint);
    let rows = (&prepared.rows.samples[..], prepared.eval_samples());
    let settings = keep::settings(&manifest, &decisive, rows, asked)?;
    decisive.push(args.train_csv.clone());
    decisive.extend(prepared.eval_file.clone());
    for path in decisive {
        manifest.add_input(&path)?;
    }
    Ok((manifest, settings))
}

/// What a run is made of, but for the model.
struct Job<'a> {
    args: &'a Args,
    config: &'a TrainConfig,
    keeper: &'a Keeper,
    rows: &'a Encoded,
    eval_rows: Option<&'a Encoded>,
}

impl Job<'_> {
    /// Trains, from a checkpoint on if there is one, recording every step. Returns what was learnt,
    /// also when it was interrupted, and the seconds and tokens that it took.
    fn learn(
        &self,
        model: &mut Model,
        scorer: Option<&mut dyn Scorer>,
        (start, residual): (&Adapter, Option<Residual>),
        found: Option<Checkpoint>,
    ) -> Result<(TrainOutcome, Adapter, (f64, usize)), StageError> {
        let (args, config) = (self.args, self.config);
        let (trainable, mut state) = begin(model, start, found, config)?;
        let trainable = trainable.over(residual);
        let rows = &self.rows.samples;
        let steps = lora::planned_steps(rows, config).map_err(train_error)?;
        warn_if_nothing_moves(config, steps);
        let progress = state.progress();
        let mut recorder = Recorder::start(args, steps, progress, self.keeper)?;
        let eval_rows = self.eval_rows.map_or(&[][..], |encoded| &encoded.samples);
        let mut evaluation = Evaluation::from(eval_rows);
        if let Some(scorer) = scorer {
            evaluation = evaluation.with_scorer(scorer);
        }
        let mut hear = |event| recorder.hear(event);
        let outcome = lora::train_from(
            model.engine(),
            &trainable,
            &mut state,
            rows,
            evaluation,
            config,
            &mut hear,
        );
        let spent = recorder.finish()?;
        let outcome = outcome.map_err(train_error)?;
        let snapshot = Snapshot::new(&trainable, &state).map_err(train_error)?;
        if !outcome.complete && outcome.steps > 0 {
            self.keeper.save(&snapshot).or_failed()?;
        }
        Ok((outcome, snapshot.adapter, spent))
    }
}

/// The variables and the state that a run begins with.
fn begin(
    model: &mut Model,
    start: &Adapter,
    found: Option<Checkpoint>,
    config: &TrainConfig,
) -> Result<(Trainable, TrainState), StageError> {
    let Some(found) = found else {
        let trainable = model.attach(start).or_failed()?;
        let state = TrainState::new(&trainable, config);
        return Ok((trainable, state));
    };
    let Checkpoint {
        path,
        mut adapter,
        progress,
        moments,
        version,
        ..
    } = found;
    let path = path.display();
    let bad = |error: StageError| error.context(format!("checkpoint {path}"));
    adopt_names(&mut adapter, start);
    let trainable = model.attach(&adapter);
    let trainable = trainable.map_err(|e| bad(StageError::bad_data(e)))?;
    say(&format!(
        "going on after step {} from {path}",
        progress.steps
    ));
    if version != lora::VERSION {
        say(&format!(
            "note: version {version} wrote this checkpoint; the last bits may differ from those of one run"
        ));
    }
    let state = TrainState::resume(&trainable, config, progress, moments);
    let state = state.map_err(|e| bad(StageError::bad_data(e)))?;
    Ok((trainable, state))
}

/// The base model's name as this run knows it: files may have moved.
fn adopt_names(adapter: &mut Adapter, named: &Adapter) {
    let names = named.config();
    let (base, revision) = (&names.base_model_name_or_path, &names.revision);
    adapter.set_base_model(base.clone(), revision.clone());
}

/// The adapter that the run leaves: the last, or the best where that was asked for and is another.
fn choose(
    args: &Args,
    keeper: &Keeper,
    outcome: &TrainOutcome,
    last: Adapter,
) -> Result<(Adapter, bool), StageError> {
    let wanted = outcome.complete && args.load_best_model_at_end;
    let best = outcome
        .best
        .as_ref()
        .filter(|best| wanted && best.step != outcome.steps);
    let Some(best) = best else {
        return Ok((last, false));
    };
    let mut adapter = keeper.adapter(best.step).or_failed()?;
    adopt_names(&mut adapter, &last);
    Ok((adapter, true))
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
        .fact("stopped_early", outcome.stopped_early)
        .fact("loss", outcome.loss)
        .fact("eval_loss", outcome.eval_loss)
        .fact(
            "eval_metrics",
            serde_json::to_value(&outcome.eval_metrics).or_failed()?,
        )
        .fact("best", serde_json::to_value(&outcome.best).or_failed()?)
        .fact("skipped", outcome.skipped)
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
    if done == 0 {
        return "interrupted before the first step; nothing was saved".into();
    }
    format!(
        "interrupted after {done} of {} steps; the adapter so far is in {folder}, and the same command \
         with --resume goes on from {folder}/checkpoint-{done}",
        outcome.planned_steps
    )
}

/// transformers gives the first update of a warm-up the rate 0: a run of one step learns nothing.
fn warn_if_nothing_moves(config: &TrainConfig, steps: usize) {
    let rates = config.learning_rates(steps);
    if (0..steps).all(|step| rates.at(step) == 0.0) {
        say(
            "note: the learning rate of every step is 0 (the first step of a warm-up has rate 0); \
             pass --warmup-ratio 0 or more steps",
        );
    }
}

/// Each error of the trainer with the exit code that it deserves.
fn train_error(error: TrainError) -> StageError {
    match error {
        TrainError::Setting { .. } | TrainError::Metric { .. } => StageError::usage(error),
        TrainError::NoRows | TrainError::Row { .. } => StageError::bad_data(error),
        _ => StageError::failed(error),
    }
}

/// A line for people. A closed standard error is no reason to stop.
fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
