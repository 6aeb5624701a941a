//! `smoltune sweep`: every combination of some values, each with several seeds, ranked on the
//! validation rows; then the winner on the test rows, once.
//!
//! A cell is a training run in its own folder and a step as any other: complete and unchanged, it is
//! skipped; interrupted, it goes on. So the sweep goes on, too, and may be widened later.

mod args;
mod cells;
mod look;
mod rank;
mod score;
mod show;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use stage::{OrExit, StageError, emit, emit_json};

use crate::config::{self, Config};
use crate::run::{self, plan};
use crate::{Command, dispatch, read_command, say};

pub(crate) use args::Args;
use cells::Sweep;
use look::Outcome;
use rank::{Ranked, rank};
use score::Metric;

pub(crate) fn run(args: &Args) -> Result<(), StageError> {
    let base = Config {
        out: "runs/sweep".into(),
        ..Config::default()
    };
    let (file, more) = (args.config.as_deref(), args.entries()?);
    let config = config::load(&base, file, &args.overrides, more)?;
    let sweep = Sweep::new(config)?;
    if args.dry_run {
        return emit(&sweep.text());
    }
    let out = &sweep.config.out;
    stage::create_folder(&out.join("steps"))?;
    stage::interrupt::install();
    let text = toml::to_string(&sweep.config).or_failed()?;
    stage::write_text(&out.join("smoltune.toml"), &text)?;
    run::do_step(&plan::prepare(&sweep.config), out)?;
    let ranked = rank(&sweep, train_and_score(&sweep)?)?;
    let test = if sweep.config.sweep.test {
        Some(look::test(&sweep, ranked.winner(), args.test_again)?)
    } else {
        None
    };
    finish(&sweep, &ranked, test.as_ref(), args.json)
}

/// Trains every cell with every seed: the scores, by cell and seed.
fn train_and_score(sweep: &Sweep) -> Result<Vec<Vec<f64>>, StageError> {
    let (out, seeds) = (&sweep.config.out, &sweep.config.sweep.seeds);
    let runs = sweep.cells.len() * seeds.len();
    let mut scores = Vec::new();
    let mut base = train::Base::default();
    for (at, cell) in sweep.cells.iter().enumerate() {
        let mut of_cell = Vec::new();
        for (number, seed) in seeds.iter().enumerate() {
            stage::interrupt::check("run the same command again to go on")?;
            let now = at * seeds.len() + number + 1;
            say(&format!("[{now}/{runs}] {}, seed {seed}", cell.name));
            let named = |e: StageError| e.context(format!("{}, seed {seed}", cell.name));
            let config = sweep.config_of(cell, *seed)?;
            let step = plan::train(&cell.step(*seed), &config, &cell.folder(out, *seed));
            let work = |words: &[String]| train_on(&mut base, words);
            run::do_step_with(&step, out, work).map_err(named)?;
            if sweep.metric != Metric::EvalLoss {
                // Answers load a model of their own, and there may be no room for both.
                base = train::Base::default();
            }
            of_cell.push(score::score(sweep, cell, *seed, &config).map_err(named)?);
        }
        scores.push(of_cell);
    }
    Ok(scores)
}

/// Trains as the command line says, on a base that an earlier cell may have loaded.
fn train_on(base: &mut train::Base, words: &[String]) -> Result<(), StageError> {
    match read_command(words)?.command {
        Command::Train(args) => train::run_on(base, &args),
        other => dispatch(&other),
    }
}

/// `sweep.json`, `sweep.html`, and the table (or the object) on standard output.
fn finish(
    sweep: &Sweep,
    ranked: &Ranked,
    test: Option<&Outcome>,
    as_json: bool,
) -> Result<(), StageError> {
    let out = &sweep.config.out;
    let object = object(sweep, ranked, test)?;
    stage::write_json(&out.join("sweep.json"), &object)?;
    let page = report::render_sweep(&show::page(sweep, ranked, test));
    stage::write_text(&out.join("sweep.html"), &page)?;
    if as_json {
        return emit_json(&object);
    }
    emit(&show::table(sweep, ranked))?;
    match test {
        Some(Outcome::Scored(comparison)) => {
            let head = format!("\nOn the test rows, the winner ({}):", ranked.winner().name);
            emit(&head)?;
            emit(&run::table::render(comparison))?;
        }
        Some(Outcome::Refused(why)) => say(&format!("note: {why}")),
        None => {}
    }
    emit(&format!("report: {}", out.join("sweep.html").display()))
}

fn object(sweep: &Sweep, ranked: &Ranked, test: Option<&Outcome>) -> Result<Value, StageError> {
    let how = &sweep.config.sweep;
    let rows: Vec<Value> = ranked.rows.iter().map(|row| row.json(sweep)).collect();
    Ok(json!({
        "smoltune": env!("CARGO_PKG_VERSION"),
        "folder": sweep.config.out,
        "metric": how.metric,
        "lower_is_better": sweep.metric.lower_is_better(),
        "seeds": how.seeds,
        "grid": serde_json::to_value(&how.grid).or_failed()?,
        "recipes": rows,
        "winner": ranked.winner().name,
        "test": match test {
            Some(Outcome::Scored(comparison)) => comparison.clone(),
            _ => Value::Null,
        },
        "test_refused": match test {
            Some(Outcome::Refused(why)) => Value::from(why.as_str()),
            _ => Value::Null,
        },
    }))
}

/// A file that a step wrote.
fn read_step_json(path: &Path) -> Result<Value, StageError> {
    if fs::exists(path).unwrap_or(false) {
        run::read_json(path)
    } else {
        Err(StageError::failed(format!(
            "{} is missing although its step is done; remove the sweep's steps folder to do all again",
            path.display()
        )))
    }
}
