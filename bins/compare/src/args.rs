//! The command line.

use std::path::PathBuf;

use clap::Parser;
use evaluate::{CompatArg, Fields, Plots};
use stage::StageError;
use textmetrics::ScoreOptions;
use textmetrics::stats::CompareOptions;

use crate::{ClusterBy, Extras};

/// Rows shown when the original's flag names are used without `--k`.
const SAMPLES: usize = 5;

/// Compare predictions row by row: is the second file better, and how sure is that?
#[derive(Debug, Clone, Parser)]
#[command(name = "compare", version)]
#[expect(clippy::struct_excessive_bools, reason = "one a flag")]
pub struct Args {
    /// Predictions of the first system, then of one or more others; one JSON object a line
    #[arg(value_name = "FILE", conflicts_with_all = ["baseline_jsonl", "lora_jsonl"])]
    pub files: Vec<PathBuf>,
    /// Predictions of the first system
    #[arg(
        long,
        alias = "baseline_jsonl",
        value_name = "FILE",
        requires = "lora_jsonl"
    )]
    pub baseline_jsonl: Option<PathBuf>,
    /// Predictions of the second system
    #[arg(
        long,
        alias = "lora_jsonl",
        value_name = "FILE",
        requires = "baseline_jsonl"
    )]
    pub lora_jsonl: Option<PathBuf>,
    /// Field that holds the gold answer: a string, or a list of strings that are all right
    #[arg(
        long,
        alias = "gold_field",
        default_value = "gold",
        value_name = "NAME"
    )]
    pub gold_field: String,
    /// Field that holds the prediction
    #[arg(
        long,
        alias = "prediction_field",
        default_value = "prediction",
        value_name = "NAME"
    )]
    pub prediction_field: String,
    /// Show this many rows whose answers differ, largest change first
    #[arg(long, alias = "k", value_name = "ROWS")]
    pub samples: Option<usize>,
    /// Draw the intervals below the table; by default on a terminal only
    #[arg(long, value_enum, default_value_t)]
    pub plots: Plots,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub json: bool,
    /// Write the JSON object here
    #[arg(long, alias = "out_file", value_name = "FILE")]
    pub out_file: Option<PathBuf>,
    /// Write a report here: one HTML page that needs no network
    #[arg(long, alias = "report", value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write verdict and tables here as Markdown, for a pull request
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
    /// Title of the report
    #[arg(long)]
    pub title: Option<String>,
    /// Training log to draw in the report; found beside the second system's adapter if not given
    #[arg(long, alias = "train_log", value_name = "FILE")]
    pub train_log: Option<PathBuf>,
    /// What `guard --out-file` measured of the second system elsewhere, to show beside the comparison
    #[arg(long, value_name = "FILE", conflicts_with = "seeds")]
    pub guard: Option<PathBuf>,
    /// A second run of the first system: says which changes are no larger than its own noise
    #[arg(long, value_name = "FILE")]
    pub repeat: Option<PathBuf>,
    /// The later files are runs of one recipe with several seeds: compare their average, and show the spread
    #[arg(long, conflicts_with_all = ["html", "markdown", "repeat", "samples", "baseline_jsonl"])]
    pub seeds: bool,
    /// Compare the rows that all files have, and leave out the others
    #[arg(long)]
    pub intersect: bool,
    /// Which rows hang together and count as one in tests and intervals
    #[arg(
        long,
        alias = "cluster_by",
        value_enum,
        default_value_t,
        value_name = "WHAT"
    )]
    pub cluster_by: ClusterBy,
    /// The difference worth seeing, for the number of rows needed
    #[arg(long, default_value_t = 0.05, value_parser = inner_share)]
    pub effect: f64,
    /// The largest difference that does not matter, for the verdict "no difference larger than"
    #[arg(long, default_value_t = 0.05, value_parser = inner_share, value_name = "DIFFERENCE")]
    pub margin: f64,
    /// Exit with 1 if the second system is worse in any metric (adjusted for looking at all)
    #[arg(long, alias = "fail_if_worse")]
    pub fail_if_worse: bool,
    /// Chance of a false finding that is put up with
    #[arg(long, default_value_t = 0.05, value_parser = inner_share)]
    pub alpha: f64,
    /// Random sign patterns and bootstrap resamples
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..))]
    pub resamples: u32,
    /// Seed of both
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Gold answers of at most this many tokens are the short subset
    #[arg(
        long,
        alias = "short_thresh",
        default_value_t = 15,
        value_name = "TOKENS"
    )]
    pub short_thresh: usize,
    /// A row counts as right at this ROUGE-Lsum F or more
    #[arg(long, alias = "rouge_thresh", default_value_t = 0.5, value_parser = share, value_name = "F")]
    pub rouge_thresh: f64,
    /// Whose definitions hold where the original's are defects
    #[arg(long, value_enum, default_value_t)]
    pub compat: CompatArg,
}

impl Args {
    /// The files to compare, first one first; at least two.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>, StageError> {
        let named = || self.baseline_jsonl.iter().chain(&self.lora_jsonl).cloned();
        let files: Vec<PathBuf> = self.files.iter().cloned().chain(named()).collect();
        if files.len() < 2 {
            return Err(StageError::usage(format!(
                "{} file of predictions given, at least two needed: compare BEFORE.jsonl AFTER.jsonl",
                if files.is_empty() { "no" } else { "one" }
            )));
        }
        Ok(files)
    }

    /// How many rows to show, if any.
    pub(crate) fn samples(&self) -> Option<usize> {
        self.samples
            .or_else(|| self.baseline_jsonl.as_ref().map(|_| SAMPLES))
    }

    pub(crate) fn extras(&self) -> Extras {
        Extras {
            fields: Fields {
                gold: self.gold_field.clone(),
                prediction: self.prediction_field.clone(),
            },
            intersect: self.intersect,
            clusters: self.cluster_by,
            repeat: self.repeat.clone(),
            score: ScoreOptions {
                short_thresh: self.short_thresh,
                rouge_thresh: self.rouge_thresh,
                compat: self.compat.into(),
            },
            stats: CompareOptions {
                alpha: self.alpha,
                resamples: self.resamples as usize,
                seed: self.seed,
                effect: self.effect,
                margin: self.margin,
                ..CompareOptions::default()
            },
            train_log: self.train_log.clone(),
            guard: self.guard.clone(),
        }
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(f) if (0.0..=1.0).contains(&f) => Ok(f),
        _ => Err("expected a number from 0 to 1".into()),
    }
}

fn inner_share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        // alpha stays below the power of 0.8 that rows are counted for
        Ok(f) if f > 0.0 && f <= 0.5 => Ok(f),
        _ => Err("expected a number above 0, up to 0.5".into()),
    }
}
