//! From a file and a command line to one [`Config`]: defaults, then the file, then the flags.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use stage::{OrExit, StageError};
use toml::{Table, Value};

use crate::config::Config;

/// Flags that override keys of the file.
#[derive(Args, Debug, Default)]
#[allow(
    clippy::doc_markdown,
    rustdoc::broken_intra_doc_links,
    reason = "these texts are help messages, where backticks are noise"
)]
pub(crate) struct Overrides {
    /// Run folder [out]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Hub id, folder, .gguf file or adapter folder [model.name]
    #[arg(
        long,
        alias = "model_name",
        visible_alias = "model",
        value_name = "MODEL"
    )]
    pub(crate) model_name: Option<String>,
    /// f32 or bf16 [model.dtype]
    #[arg(long)]
    pub(crate) dtype: Option<String>,
    /// CSV or JSONL file, or hub id [data.source]
    #[arg(long, value_name = "FILE|HUB_ID")]
    pub(crate) source: Option<String>,
    /// Rows held out [data.test]
    #[arg(long, value_name = "N")]
    pub(crate) test: Option<i64>,
    /// Rows to train on [data.train]
    #[arg(long, value_name = "N")]
    pub(crate) train: Option<i64>,
    /// System prompt of every row [model.system]
    #[arg(long, value_name = "TEXT", aliases = ["system-prompt", "system_prompt"])]
    pub(crate) system: Option<String>,
    /// Every seed at once [data.seed, generate.seed, train.seed]
    #[arg(long)]
    pub(crate) seed: Option<i64>,
    /// Learning rate [train.lr]
    #[arg(long)]
    pub(crate) lr: Option<f64>,
    /// Passes over the rows, fractions allowed [train.epochs]
    #[arg(long)]
    pub(crate) epochs: Option<f64>,
    /// Optimiser steps, instead of epochs [train.max_steps]
    #[arg(long, alias = "max_steps", value_name = "N")]
    pub(crate) max_steps: Option<i64>,
    /// Longest answer in tokens [generate.max_new_tokens]
    #[arg(long, alias = "max_new_tokens", value_name = "N")]
    pub(crate) max_new_tokens: Option<i64>,
    /// Any key by its dotted name, such as `--set train.lora_r=8`; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

impl Overrides {
    /// Dotted keys and values, in the order in which they apply.
    fn entries(&self) -> Result<Vec<(String, Value)>, StageError> {
        let text = |v: &Option<String>| v.clone().map(Value::String);
        let whole = |v: Option<i64>| v.map(Value::Integer);
        let real = |v: Option<f64>| v.map(Value::Float);
        let out = self
            .out
            .as_ref()
            .map(|path| Value::String(path.display().to_string()));
        let named = [
            ("out", out),
            ("model.name", text(&self.model_name)),
            ("model.dtype", text(&self.dtype)),
            ("data.source", text(&self.source)),
            ("data.test", whole(self.test)),
            ("data.train", whole(self.train)),
            ("model.system", text(&self.system)),
            ("data.seed", whole(self.seed)),
            ("generate.seed", whole(self.seed)),
            ("train.seed", whole(self.seed)),
            ("train.lr", real(self.lr)),
            ("train.epochs", real(self.epochs)),
            ("train.max_steps", whole(self.max_steps)),
            ("generate.max_new_tokens", whole(self.max_new_tokens)),
        ];
        let mut entries: Vec<_> = named
            .into_iter()
            .filter_map(|(key, value)| value.map(|value| (key.to_owned(), value)))
            .collect();
        for pair in &self.set {
            entries.push(key_value(pair)?);
        }
        Ok(entries)
    }
}

/// `train.lr=1e-4` to its key and TOML value; what is no TOML value is taken as text.
fn key_value(pair: &str) -> Result<(String, Value), StageError> {
    let Some((key, value)) = pair.split_once('=') else {
        return Err(StageError::usage(format!(
            "--set {pair}: expected KEY=VALUE"
        )));
    };
    let parsed = format!("v = {value}")
        .parse::<Table>()
        .ok()
        .and_then(|mut t| t.remove("v"));
    Ok((
        key.trim().to_owned(),
        parsed.unwrap_or_else(|| Value::String(value.to_owned())),
    ))
}

/// Reads `file` (none: `base` alone), then applies `overrides`.
///
/// A file that cannot be read is bad data (3); one that says something wrong, or a wrong flag, is
/// wrong usage (2), since the file is a command line written down.
pub(crate) fn load(
    base: &Config,
    file: Option<&Path>,
    overrides: &Overrides,
) -> Result<Config, StageError> {
    let mut table = Table::try_from(base).or_failed()?;
    if let Some(path) = file {
        let text = fs::read_to_string(path)
            .map_err(|e| StageError::bad_data(format!("cannot read {}: {e}", path.display())))?;
        let in_file = |e: toml::de::Error| StageError::usage(format!("{}: {e}", path.display()));
        // Once for the messages, which have line numbers only when read from text …
        toml::from_str::<Config>(&text).map_err(in_file)?;
        // … and once for what is really in it.
        merge(&mut table, text.parse::<Table>().map_err(in_file)?);
    }
    for (key, value) in overrides.entries()? {
        set(&mut table, &key, value)?;
    }
    let config: Config = table
        .try_into()
        .map_err(|e: toml::de::Error| StageError::usage(e.to_string().trim_end().to_owned()))?;
    check(&config)?;
    Ok(config)
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

fn set(table: &mut Table, key: &str, value: Value) -> Result<(), StageError> {
    let mut parts: Vec<&str> = key.split('.').collect();
    let last = parts.pop().unwrap_or_default();
    let mut at = table;
    for part in parts {
        at = at
            .get_mut(part)
            .and_then(Value::as_table_mut)
            .ok_or_else(|| {
                StageError::usage(format!(
                    "{key}: there is no section [{part}] in smoltune.toml"
                ))
            })?;
    }
    // `--set train.lr=1` means 1.0.
    let value = match (at.get(last), value) {
        (Some(Value::Float(_)), Value::Integer(whole)) => Value::Float(whole as f64),
        (_, value) => value,
    };
    at.insert(last.to_owned(), value);
    Ok(())
}

/// What the types do not say. The stages check their own flags again.
fn check(config: &Config) -> Result<(), StageError> {
    let positive = [
        ("data.test", config.data.test),
        ("data.train", config.data.train),
        ("generate.max_new_tokens", config.generate.max_new_tokens),
        ("generate.max_prompt_len", config.generate.max_prompt_len),
        ("train.batch_size", config.train.batch_size),
        ("train.accumulation", config.train.accumulation),
        ("train.max_seq_len", config.train.max_seq_len),
        ("train.lora_r", config.train.lora_r),
    ];
    for (key, value) in positive {
        if value == 0 {
            return Err(StageError::usage(format!(
                "{key} is 0; it must be at least 1"
            )));
        }
    }
    let lr = config.train.lr;
    if !(lr.is_finite() && lr > 0.0) {
        return Err(StageError::usage(format!(
            "train.lr is {lr}; it must be above 0"
        )));
    }
    let dtype = &config.model.dtype;
    if !["f32", "bf16"].contains(&dtype.as_str()) {
        return Err(StageError::usage(format!(
            "model.dtype is {dtype:?}; use \"f32\" or \"bf16\""
        )));
    }
    // Wrong words are told before the first step, not hours later by the step that reads them.
    let (data, train) = (&config.data, &config.train);
    for (key, found, known) in [
        (
            "data.view",
            &data.view,
            &["original", "curated", "prefer-curated"][..],
        ),
        ("data.stratify", &data.stratify, &["", "category"]),
        ("data.group_by", &data.group_by, &["", "context"]),
        (
            "train.batching",
            &train.batching,
            &["shuffled", "bucketed", "packed"],
        ),
        (
            "train.on_truncate",
            &train.on_truncate,
            &["context", "drop", "keep-start", "error"],
        ),
    ] {
        if !known.contains(&found.as_str()) {
            return Err(StageError::usage(format!(
                "{key} is {found:?}; known are {known:?}"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[&str]) -> Result<Config, StageError> {
        let set = pairs.iter().map(|s| (*s).to_owned()).collect();
        load(
            &Config::default(),
            None,
            &Overrides {
                set,
                ..Overrides::default()
            },
        )
    }

    #[test]
    fn a_set_key_keeps_its_type() {
        let config = with(&["train.lr=1", "train.max_steps=3", "model.name=a/b"]).unwrap();
        assert_eq!((config.train.lr, config.train.max_steps), (1.0, Some(3)));
        assert_eq!(config.model.name, "a/b");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (pair, named) in [
            ("train.lrr=1", "lrr"),
            ("trian.lr=1", "trian"),
            ("train.lora_r=0", "train.lora_r"),
            ("model.dtype=f64", "model.dtype"),
            ("data.test=many", "test"),
            ("train.lr", "KEY=VALUE"),
        ] {
            let error = with(&[pair]).unwrap_err();
            assert_eq!(error.exit(), stage::Exit::Usage);
            assert!(error.to_string().contains(named), "{pair}: {error}");
        }
    }

    #[test]
    fn flags_beat_the_file_and_the_file_beats_the_base() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("smoltune.toml");
        fs::write(&path, "[train]\nlr = 1e-3\nlora_r = 4\n").unwrap();
        let flags = Overrides {
            lr: Some(5e-3),
            ..Overrides::default()
        };
        let config = load(&Config::default(), Some(&path), &flags).unwrap();
        assert_eq!(
            (config.train.lr, config.train.lora_r, config.train.epochs),
            (5e-3, 4, 1.0)
        );
    }
}
