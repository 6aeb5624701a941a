//! `smoltune run`: the whole pipeline into one folder, from one configuration.
//!
//! It does nothing that a person could not type: each step is a stage's command line, shown as it
//! runs and kept in `steps/`. What it adds is memory: a step whose command, inputs and outputs are
//! unchanged is skipped.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args as ClapArgs;
use serde_json::{Value, json};
use stage::{OrExit, StageError, emit, emit_json};

use crate::config::{self, Config, Overrides, Recipe};
use crate::{run_command, say};

mod check;
pub(crate) mod plan;
pub(crate) mod start;
mod step;
pub(crate) mod table;

pub(crate) use check::check;
pub(crate) use step::Step;

/// Do it all from one smoltune.toml.
#[derive(ClapArgs, Debug)]
#[command(
    after_help = "A smoltune.toml with every key and what it means: smoltune init\n\n\
    Examples:\n  \
    smoltune run --config smoltune.toml --set train.lr=1e-4\n  \
    smoltune run --preset original --source rows.csv --out runs/original"
)]
pub(crate) struct Args {
    /// The configuration; without it, defaults and flags alone
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the configuration as it would be used, and stop
    #[arg(long)]
    show_config: bool,
    /// Print the outcome as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    recipe: Recipe,
}

pub(crate) fn run(args: &Args) -> Result<(), StageError> {
    let (file, more) = (args.config.as_deref(), args.recipe.entries());
    let config = config::load(&Config::default(), file, &args.overrides, more)?;
    if args.show_config {
        return emit(toml::to_string(&config).or_failed()?.trim_end());
    }
    all_steps(&config, args.json)
}

/// Every step, then the table (or one JSON object) on standard output.
pub(crate) fn all_steps(config: &Config, json: bool) -> Result<(), StageError> {
    let started = Instant::now();
    let folder = &config.out;
    stage::create_folder(&folder.join("steps"))?;
    stage::interrupt::install();
    let text = toml::to_string(config).or_failed()?;
    stage::write_text(&folder.join("smoltune.toml"), &text)?;
    for old in plan::left_out(config).iter().filter(|path| path.exists()) {
        remove(old)?;
    }
    let mut timings = serde_json::Map::new();
    let steps = plan::steps(config);
    for (number, step) in steps.iter().enumerate() {
        stage::interrupt::check("run the same command again to go on")?;
        say(&format!("[{}/{}]", number + 1, steps.len()));
        let begun = Instant::now();
        do_step(step, folder)?;
        let seconds = begun.elapsed().as_secs_f64();
        timings.insert(step.name.clone(), json!(seconds));
    }
    finish(folder, &timings, started.elapsed().as_secs_f64(), json)
}

/// A step, unless its record in `folder` shows that it is done.
pub(crate) fn do_step(step: &Step, folder: &Path) -> Result<(), StageError> {
    do_step_with(step, folder, run_command)
}

/// The same, by other hands.
pub(crate) fn do_step_with(
    step: &Step,
    folder: &Path,
    work: impl FnOnce(&[String]) -> Result<(), StageError>,
) -> Result<(), StageError> {
    // Standard output is for the outcome of the whole, not for that of each stage.
    stage::send_results(step.results);
    let done = step.ensure(folder, work);
    stage::send_results(stage::Results::Stdout);
    done.map(|_| ()).map_err(|e| e.context(step.name.as_str()))
}

fn finish(
    folder: &Path,
    timings: &serde_json::Map<String, Value>,
    seconds: f64,
    json: bool,
) -> Result<(), StageError> {
    let comparison = read_json(&folder.join("comparison.json"))?;
    let report = folder.join("report.html");
    if json {
        return emit_json(&json!({
            "folder": folder,
            "report": report,
            "before": read_json(&folder.join("baseline/scores.json"))?,
            "after": read_json(&folder.join("tuned/scores.json"))?,
            "comparison": comparison,
            "seconds": seconds,
            "step_seconds": timings,
        }));
    }
    emit(&table::render(&comparison))?;
    say(&table::timing(timings, seconds));
    emit(&format!("report: {}", report.display()))
}

/// Removes a file of an earlier run.
fn remove(old: &Path) -> Result<(), StageError> {
    fs::remove_file(old)
        .map_err(|e| StageError::failed(format!("cannot remove old {}: {e}", old.display())))
}

pub(crate) fn read_json(path: &Path) -> Result<Value, StageError> {
    let text = fs::read_to_string(path)
        .map_err(|e| StageError::failed(format!("cannot read {}: {e}", path.display())))?;
    serde_json::from_str(&text)
        .map_err(|e| StageError::failed(format!("{} is no JSON: {e}", path.display())))
}
