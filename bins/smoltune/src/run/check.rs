//! Every command line of a run is read before its first step: a wrong word is told now, not hours
//! later by the step that meets it.

use std::path::PathBuf;

use clap::Parser;
use clap::error::{ContextKind, ContextValue};
use stage::StageError;
use toml::{Table, Value};

use super::{Step, plan};
use crate::config::{Config, Section, sections};
use crate::{Cli, Command};

/// Reads the command line of every step, as the step would.
///
/// # Errors
/// Exit code 2, with the key that made the wrong flag, or the file that a step would lose before it is read.
pub(crate) fn check(config: &Config) -> Result<(), StageError> {
    plan::steps(config)
        .iter()
        .try_for_each(|step| check_step(config, step))
}

/// A step begins with removing what it will write: a run over the adapter that it starts from would destroy it.
fn check_files(config: &Config, step: &Step) -> Result<(), StageError> {
    let real = |path: &PathBuf| path.canonicalize().ok();
    let written: Vec<PathBuf> = step.outputs.iter().filter_map(real).collect();
    let mut read = step.inputs.iter();
    let lost = read.find(|path| real(path).is_some_and(|path| written.contains(&path)));
    lost.map_or(Ok(()), |path| {
        Err(StageError::usage(format!(
            "the step {} reads {} and would write over it; take another run folder (--out, now {})",
            step.name,
            path.display(),
            config.out.display()
        )))
    })
}

fn check_step(config: &Config, step: &Step) -> Result<(), StageError> {
    check_files(config, step)?;
    let words = std::iter::once("smoltune").chain(step.command.iter().map(String::as_str));
    let error = match Cli::try_parse_from(words) {
        Ok(Cli {
            command: Command::Train(args),
            ..
        }) => return train::check(&args).map_err(|e| e.context("the step train")),
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    let flag = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(shown)) => shown.clone(),
        _ => String::new(),
    };
    let stage = step.command.first().map_or("", String::as_str);
    let key = key_of(config, stage, &flag);
    let what = key.unwrap_or_else(|| format!("the step {}", step.name));
    Err(StageError::usage(format!("{what}: {}", short(&error))))
}

/// clap's message without its title, its usage and its advice to ask for help.
fn short(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let lines = text.trim().trim_start_matches("error: ").lines();
    let lines = lines
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .take_while(|line| {
            !line.starts_with("Usage:") && !line.starts_with("For more information")
        });
    lines.collect::<Vec<_>>().join(" ")
}

/// The key that made a flag, which clap shows as `--batching <BATCHING>`: one of the stage's own
/// section, else one of another section that has a flag of that name and a value for it.
fn key_of(config: &Config, stage: &str, flag: &str) -> Option<String> {
    let long = flag.split([' ', '=']).next()?.strip_prefix("--")?;
    let table = Table::try_from(config).ok()?;
    let set = |section: &Section| {
        let values = table.get(section.name).and_then(Value::as_table)?;
        let makes = |section: &Section, name: &str| {
            let value = values.get(name)?;
            let key = section.key(name)?;
            let same = section.with_flag(key, |arg| arg.get_long() == Some(long));
            (same == Some(true) && !key.words(value).is_empty()).then(|| section.full(name))
        };
        let mut keys = section.keys.iter();
        keys.find_map(|key| makes(section, key.name))
    };
    let own = |section: &&Section| {
        section.name != "model" && section.stage.is_some_and(|of| of().get_name() == stage)
    };
    let mut all = sections().iter();
    let (mine, rest): (Vec<&Section>, Vec<&Section>) = all.by_ref().partition(own);
    mine.into_iter().chain(rest).find_map(set)
}
