//! The stage's command line.

#![allow(clippy::doc_markdown, reason = "these comments are the help text")]

use std::path::PathBuf;

use chat_prompt::{Date, OverflowPolicy};
use clap::ValueEnum;
use dolly_data::{FieldMap, GroupBy, Size, View};

/// Read instruction data, split it with a seed, and prove that it is right.
///
/// Writes train and test (and, with --val, val) as .csv and .jsonl, leaks.json, DATA.md and
/// manifest.json; with --model also audit.json, the audit of every row's label mask. The split is that
/// of `numpy.random.default_rng(SEED).permutation(rows)`: the first rows are the test set, those after
/// them the training set, those after them the validation set.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "prepare", version, after_help = EXAMPLES)]
pub struct Args {
    /// A .csv, .jsonl, .json or .parquet file (the first three also as .gz or .zst), or a data set of the Hugging Face hub: OWNER/NAME, optionally with @REVISION and :FILE
    #[arg(long, value_name = "FILE|HUB_ID", aliases = ["input", "input-csv", "input_csv", "dataset", "dataset-name", "dataset_name"])]
    pub source: String,
    /// Columns of other names, as instruction=question,response=answer
    #[arg(long, value_name = "FIELD=COLUMN,…")]
    pub map: Option<FieldMap>,
    /// Which texts of a curated source count: original (curated where that is blank), curated, or prefer-curated
    #[arg(long, value_name = "VIEW", default_value_t)]
    pub view: View,
    /// Seed of the split
    #[arg(long, default_value_t = 42, value_name = "S")]
    pub seed: u64,
    /// Test set: rows, a fraction (0.1, 10%) or rest [default: 15, fewer from a small source]
    #[arg(long, value_name = "N", aliases = ["test-size", "test_size", "n-test", "n_test"])]
    pub test: Option<Size>,
    /// Training set, as --test [default: 1000, fewer from a small source]
    #[arg(long, value_name = "N", aliases = ["train-size", "train_size", "n-train", "n_train"])]
    pub train: Option<Size>,
    /// Validation set, as --test [default: none]
    #[arg(long, value_name = "N", aliases = ["eval", "val-size", "val_size", "n-val", "n_val"])]
    pub val: Option<Size>,
    /// Give every part the same share of each category
    #[arg(long, value_enum, value_name = "COLUMN")]
    pub stratify: Option<Stratify>,
    /// Keep rows that share a context on one side
    #[arg(long, value_enum, value_name = "COLUMN", alias = "group_by")]
    pub group_by: Option<Group>,
    /// Write K folds for cross-validation instead, fold-1 to fold-K
    #[arg(long, value_name = "K", conflicts_with_all = ["test", "train", "val"])]
    pub folds: Option<usize>,
    /// Two texts are near duplicates when they share this part of their word 5-grams (Jaccard)
    #[arg(long, value_name = "J", default_value_t = 0.8, value_parser = share, alias = "near_threshold")]
    pub near_threshold: f64,
    /// Leave out the training rows in which a test or validation row stands
    #[arg(long, alias = "drop_leaks")]
    pub drop_leaks: bool,
    /// Model whose tokenizer and template audit the label masks: hub id, folder or .gguf file
    #[arg(long, value_name = "MODEL", aliases = ["model-name", "model_name", "tokenizer"])]
    pub model: Option<String>,
    /// Revision of a hub model
    #[arg(long, requires = "model")]
    pub revision: Option<String>,
    /// System prompt of every row, as for train
    #[arg(long, value_name = "TEXT", requires = "model", aliases = ["system-prompt", "system_prompt"])]
    pub system: Option<String>,
    /// Date for templates that write one, as for train [default: today]
    #[arg(long, value_name = "DATE", requires = "model")]
    pub date: Option<Date>,
    /// Longest training row in tokens, as for train
    #[arg(long, value_name = "N", default_value_t = 1024, alias = "max_seq_len")]
    pub max_seq_len: usize,
    /// What happens to a training row that is too long, as for train
    #[arg(long, value_enum, default_value_t, alias = "on_truncate")]
    pub on_truncate: OnTruncate,
    /// Print the first N training rows with their supervised tokens marked, and write them as mask.html
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true,
        requires = "model",
        alias = "show_mask"
    )]
    pub show_mask: usize,
    /// Folder to write into; made if need be [default: data]
    #[arg(long, value_name = "DIR", aliases = ["out-dir", "out_dir", "output-dir", "output_dir"])]
    pub out: Option<PathBuf>,
    /// Print the first N rows; without --out, do nothing else
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub show: usize,
    /// Print the outcome as one JSON object
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "Examples:
  prepare --source argilla/databricks-dolly-15k-curated-en --seed 42 --test 15 --train 1000
  prepare --source rows.csv --map instruction=question,response=answer --test 10% --train rest
  prepare --source rows.parquet --val 100 --group-by context --drop-leaks --model HuggingFaceTB/SmolLM2-135M-Instruct --show-mask 3";

/// What `--stratify` may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Stratify {
    /// The category
    Category,
}

/// What `--group-by` may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Group {
    /// The context's words
    Context,
}

impl From<Group> for GroupBy {
    fn from(group: Group) -> Self {
        match group {
            Group::Context => Self::Context,
        }
    }
}

/// What is done with a row that is too long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum OnTruncate {
    /// Shorten the context; drop the row where instruction and response alone do not fit
    #[default]
    Context,
    /// Drop the row
    Drop,
    /// Keep the first tokens
    #[value(alias = "keep_start")]
    KeepStart,
    /// Stop with an error
    Error,
}

impl From<OnTruncate> for OverflowPolicy {
    fn from(policy: OnTruncate) -> Self {
        match policy {
            OnTruncate::Context => Self::Context,
            OnTruncate::Drop => Self::Drop,
            OnTruncate::KeepStart => Self::KeepStart,
            OnTruncate::Error => Self::Error,
        }
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("expected a number above 0 and at most 1".to_owned()),
    }
}

impl Args {
    /// The defaults, for a source.
    pub fn new(source: impl Into<String>) -> Self {
        Self {
            source: source.into(),
            map: None,
            view: View::default(),
            seed: 42,
            test: None,
            train: None,
            val: None,
            stratify: None,
            group_by: None,
            folds: None,
            near_threshold: 0.8,
            drop_leaks: false,
            model: None,
            revision: None,
            system: None,
            date: None,
            max_seq_len: 1024,
            on_truncate: OnTruncate::default(),
            show_mask: 0,
            out: None,
            show: 0,
            json: false,
        }
    }
}
