//! The command line of a sweep.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use stage::StageError;
use toml::Value;

use crate::config::{Entry, Overrides, typed};

const EXAMPLES: &str = "\
Examples:
  Three learning rates and two ranks, each with three seeds: 18 trainings, ranked by validation loss
    smoltune sweep --source rows.csv --test 100 --val 100 --train 1000 \\
        --lr 1e-4,2e-4,5e-4 --lora-r 8,16 --seeds 1,2,3

  What would be trained, and where
    smoltune sweep --config sweep.toml --dry-run

  In a file: any key of [train], with the values to try
    [sweep]
    seeds = [1, 2, 3]
    [sweep.grid]
    lr = [1e-4, 2e-4]
    target_modules = [[\"q_proj\", \"v_proj\"], [\"all-linear\"]]

The same command goes on where it was stopped. With more values or seeds, only what is new is trained.";

/// Try combinations of values with several seeds, and rank them on validation rows.
#[derive(ClapArgs, Debug)]
#[command(after_long_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "one a flag")]
pub(crate) struct Args {
    /// The configuration, with a section `[sweep]`; without it, defaults and flags alone
    #[arg(long, short, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Learning rates to try
    #[arg(long, value_name = "X,…", value_delimiter = ',')]
    lr: Vec<f64>,
    /// Ranks to try
    #[arg(long, value_name = "N,…", value_delimiter = ',', alias = "lora_r")]
    lora_r: Vec<i64>,
    /// Modules to try, once for each choice: all-linear, or names with commas
    #[arg(long, value_name = "LIST", alias = "target_modules")]
    target_modules: Vec<String>,
    /// Passes over the rows to try
    #[arg(long, value_name = "X,…", value_delimiter = ',')]
    epochs: Vec<f64>,
    /// Any other key of `[train]` with the values to try, such as `lora_alpha=16,32`; may be repeated
    #[arg(long, value_name = "KEY=VALUE,…")]
    grid: Vec<String>,
    /// Seeds that every combination is trained with [sweep.seeds]
    #[arg(long, value_name = "S,…", value_delimiter = ',')]
    seeds: Vec<i64>,
    /// What to rank by: `eval_loss`, or a metric of answers such as `f1` or `rouge_l` [sweep.metric]
    #[arg(long, value_name = "NAME")]
    metric: Option<String>,
    /// Leave the test rows alone [sweep.test]
    #[arg(long)]
    no_test: bool,
    /// Score on the test rows although another winner was scored there before; the sweep's record keeps both
    #[arg(long, conflicts_with = "no_test")]
    pub(super) test_again: bool,
    /// Print what would be trained, and stop
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Print the outcome as one JSON object
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) overrides: Overrides,
}

impl Args {
    /// The sweep's own flags as keys.
    ///
    /// # Errors
    /// Exit code 2 for a `--grid` that is no KEY=VALUES.
    pub(super) fn entries(&self) -> Result<Vec<Entry>, StageError> {
        let list = |key: &str, values: Vec<Value>| {
            (!values.is_empty()).then(|| (key.to_owned(), Value::Array(values)))
        };
        let floats = |values: &[f64]| values.iter().copied().map(Value::Float).collect();
        let whole = |values: &[i64]| values.iter().copied().map(Value::Integer).collect();
        let modules = self.target_modules.iter().cloned().map(Value::String);
        let flags = [
            list("sweep.grid.lr", floats(&self.lr)),
            list("sweep.grid.lora_r", whole(&self.lora_r)),
            list("sweep.grid.target_modules", modules.collect()),
            list("sweep.grid.epochs", floats(&self.epochs)),
            list("sweep.seeds", whole(&self.seeds)),
            self.metric
                .as_ref()
                .map(|name| ("sweep.metric".into(), name.as_str().into())),
            self.no_test.then(|| ("sweep.test".into(), false.into())),
        ];
        let mut entries: Vec<Entry> = flags.into_iter().flatten().collect();
        for pair in &self.grid {
            entries.push(axis(pair)?);
        }
        Ok(entries)
    }
}

/// `lora_alpha=16,32`: values that are TOML are taken as such, others as texts.
fn axis(pair: &str) -> Result<Entry, StageError> {
    let Some((key, values)) = pair.split_once('=') else {
        return Err(StageError::usage(format!(
            "--grid {pair}: expected KEY=VALUE,VALUE…"
        )));
    };
    let values = match typed(&format!("[{values}]")) {
        list @ Value::Array(_) => list,
        _ => values.split(',').map(typed).collect::<Vec<_>>().into(),
    };
    Ok((format!("sweep.grid.{}", key.trim()), values))
}
