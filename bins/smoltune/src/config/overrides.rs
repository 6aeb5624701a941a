//! Flags that override keys of the file.

use std::path::PathBuf;

use clap::Args;
use stage::StageError;
use toml::{Table, Value};

/// Flags of every command that has a configuration.
#[derive(Args, Debug, Default, Clone)]
#[allow(
    clippy::doc_markdown,
    rustdoc::broken_intra_doc_links,
    reason = "these texts are help messages, where backticks are noise"
)]
pub(crate) struct Overrides {
    /// Recipe to start from: fast, quality, original or original-2 [preset]
    #[arg(long, value_name = "NAME")]
    pub(crate) preset: Option<String>,
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
    /// CSV, JSONL, JSON or Parquet file, or hub id [data.source]
    #[arg(long, value_name = "FILE|HUB_ID")]
    pub(crate) source: Option<String>,
    /// Rows held out [data.test]
    #[arg(long, value_name = "N")]
    pub(crate) test: Option<i64>,
    /// Rows to train on [data.train]
    #[arg(long, value_name = "N")]
    pub(crate) train: Option<i64>,
    /// Rows for the evaluation loss while training [data.val]
    #[arg(long, value_name = "N")]
    pub(crate) val: Option<i64>,
    /// System prompt of every row [model.system]
    #[arg(long, value_name = "TEXT", aliases = ["system-prompt", "system_prompt"])]
    pub(crate) system: Option<String>,
    /// Every seed at once [data.seed, generate.seed, train.seed]
    #[arg(long)]
    pub(crate) seed: Option<i64>,
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

/// Flags of the commands that train one recipe.
#[derive(Args, Debug, Default, Clone)]
#[allow(
    clippy::doc_markdown,
    rustdoc::broken_intra_doc_links,
    reason = "these texts are help messages, where backticks are noise"
)]
pub(crate) struct Recipe {
    /// Learning rate [train.lr]
    #[arg(long)]
    pub(crate) lr: Option<f64>,
    /// Passes over the rows, fractions allowed [train.epochs]
    #[arg(long)]
    pub(crate) epochs: Option<f64>,
    /// Leave out what the adapter has moved elsewhere [guard.enabled]
    #[arg(long, alias = "no_guard")]
    pub(crate) no_guard: bool,
}

/// A dotted key and its value.
pub(crate) type Entry = (String, Value);

impl Recipe {
    /// Those that were given.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        given([
            ("train.lr", self.lr.map(Value::Float)),
            ("train.epochs", self.epochs.map(Value::Float)),
            ("guard.enabled", self.no_guard.then_some(false.into())),
        ])
    }
}

impl Overrides {
    /// Dotted keys and values, in the order in which they apply: those of flags, then `--set`.
    ///
    /// # Errors
    /// Exit code 2 for a `--set` that is no KEY=VALUE.
    pub(super) fn entries(&self) -> Result<Vec<Entry>, StageError> {
        let text = |v: &Option<String>| v.clone().map(Value::String);
        let whole = |v: Option<i64>| v.map(Value::Integer);
        let out = self.out.as_ref();
        let mut entries = given([
            ("out", out.map(|path| path.display().to_string().into())),
            ("model.name", text(&self.model_name)),
            ("model.dtype", text(&self.dtype)),
            ("data.source", text(&self.source)),
            ("data.test", whole(self.test)),
            ("data.train", whole(self.train)),
            ("data.val", whole(self.val)),
            ("model.system", text(&self.system)),
            ("data.seed", whole(self.seed)),
            ("generate.seed", whole(self.seed)),
            ("train.seed", whole(self.seed)),
            ("train.max_steps", whole(self.max_steps)),
            ("generate.max_new_tokens", whole(self.max_new_tokens)),
        ]);
        for pair in &self.set {
            entries.push(key_value(pair)?);
        }
        Ok(entries)
    }
}

fn given<const N: usize>(named: [(&str, Option<Value>); N]) -> Vec<Entry> {
    let set = named.into_iter();
    set.filter_map(|(key, value)| value.map(|value| (key.to_owned(), value)))
        .collect()
}

/// `train.lr=1e-4` to its key and TOML value.
fn key_value(pair: &str) -> Result<Entry, StageError> {
    let Some((key, value)) = pair.split_once('=') else {
        return Err(StageError::usage(format!(
            "--set {pair}: expected KEY=VALUE"
        )));
    };
    Ok((key.trim().to_owned(), typed(value)))
}

/// What a person typed, as a TOML value; what is no TOML value is text.
pub(crate) fn typed(text: &str) -> Value {
    let parsed = format!("v = {text}").parse::<Table>().ok();
    let value = parsed.and_then(|mut table| table.remove("v"));
    value.unwrap_or_else(|| Value::String(text.to_owned()))
}
