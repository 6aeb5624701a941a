//! Scores a file of predictions.
//!
//! Reads what `generate` writes (or any JSONL with `gold` and `prediction`), scores every row, and
//! prints the means over all rows and over those with a short gold answer: for people as lines, for
//! scripts as JSON. Where `prepare` flagged rows that training had seen (`leak`), the means over the
//! others stand beside them.
#![forbid(unsafe_code)]

mod blocks;
mod error;
mod further;
mod groups;
mod lines;
mod plots;
mod predictions;
mod references;
mod tables;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};
use rayon::prelude::*;
use serde::Serialize;
use stage::{FileRecord, StageError, TextFile};
use textmetrics::{Compat, Metrics, RowScore, ScoreOptions, Scores, score_row, score_rows};

use blocks::{BLOCK, STDIN, for_each_block};
use further::{Figure, Further};
use groups::{Group, Tallies, Words};

pub use error::PredictionError;
pub use predictions::{Fields, Prediction, load_fields, load_predictions, parse_predictions};

/// Score answers against gold answers.
#[derive(Debug, Parser)]
#[command(name = "evaluate", version)]
pub struct Args {
    /// Predictions, one JSON object a line with at least `gold` and `prediction`; `-` reads standard input
    #[arg(long, alias = "pred_file", value_name = "FILE")]
    pub pred_file: PathBuf,
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
    /// Further metrics: bleu, chrf, chrf++, `squad_em`, `squad_f1`, `squad2_em`, `squad2_f1`,
    /// `length_ratio`, repetition, refusal, empty
    #[arg(long, value_delimiter = ',', value_parser = further::name, value_name = "NAMES")]
    pub metrics: Vec<String>,
    /// Intervals of further metrics from this many resamples of the rows
    #[arg(
        long,
        default_value_t = 0,
        requires = "metrics",
        value_name = "RESAMPLES"
    )]
    pub bootstrap: usize,
    /// Seed of the resamples
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Print one JSON object instead of lines
    #[arg(long)]
    pub json: bool,
    /// Write the scores here as JSON too
    #[arg(long, alias = "out_file", value_name = "FILE")]
    pub out_file: Option<PathBuf>,
    /// Write means and intervals of every group here as CSV; `-` prints them instead of lines
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub csv: Option<PathBuf>,
    /// Write them here as a Markdown table; `-` prints it instead of lines
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub markdown: Option<PathBuf>,
    /// Draw bars below the lines; by default on a terminal only
    #[arg(long, value_enum, default_value_t)]
    pub plots: Plots,
    /// Write the scores of each row here, one JSON object a line
    #[arg(long, alias = "per_row", value_name = "FILE")]
    pub per_row: Option<PathBuf>,
}

/// The values of `--compat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum CompatArg {
    /// An empty prediction is no relaxed match; plain rates
    #[default]
    Default,
    /// Numbers and lines exactly as the original evaluator prints them
    Original,
}

/// The values of `--plots`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Plots {
    /// Where the output is a terminal
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl Plots {
    /// Whether to draw.
    pub fn wanted(self) -> bool {
        match self {
            Self::Auto => std::io::stdout().is_terminal(),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

impl From<CompatArg> for Compat {
    fn from(arg: CompatArg) -> Self {
        match arg {
            CompatArg::Default => Self::Default,
            CompatArg::Original => Self::Original,
        }
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(f) if (0.0..=1.0).contains(&f) => Ok(f),
        _ => Err("expected a number from 0 to 1".to_owned()),
    }
}

/// Scores every prediction, in order, on all threads; against the best of several gold answers.
pub fn score_predictions(predictions: &[Prediction], options: &ScoreOptions) -> Vec<RowScore> {
    let mut scores = score_rows(predictions, options, |row| (&row.gold, &row.prediction));
    for (score, row) in scores.iter_mut().zip(predictions) {
        for gold in &row.more_gold {
            *score = score.best(score_row(gold, &row.prediction, options));
        }
    }
    scores
}

/// The scores with what they were made from.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    scores: Scores,
    #[serde(skip_serializing_if = "Option::is_none")]
    clean: Option<Metrics>,
    groups: &'a [Group],
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics: Option<&'a BTreeMap<&'a str, Figure>>,
    /// `None` where they came from standard input.
    predictions: Option<FileRecord>,
    smoltune: &'static str,
}

/// One line of `--per-row`.
#[derive(Serialize)]
struct Line<'a> {
    row: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(flatten)]
    score: &'a RowScore,
}

/// Runs the stage.
///
/// # Errors
/// Bad data (exit 3) for a file that is missing, empty or malformed; failed (exit 1) when an output
/// cannot be written.
pub fn run(args: &Args) -> Result<(), StageError> {
    let options = ScoreOptions {
        short_thresh: args.short_thresh,
        rouge_thresh: args.rouge_thresh,
        compat: args.compat.into(),
    };
    let fields = Fields {
        gold: args.gold_field.clone(),
        prediction: args.prediction_field.clone(),
    };
    let mut further = Further::new(&args.metrics, args.bootstrap)?;
    let tallies = tally(args, &fields, &options, &mut further)?;
    let figures = further.figures(args.seed)?;
    let (scores, clean) = (tallies.scores(&options), tallies.clean(&options));
    let plots = args.plots.wanted();
    let mut lines = lines::lines(&scores, clean.as_ref());
    if let Some(figures) = &figures {
        lines += "\n";
        lines += &further::lines(figures);
    }
    let asked = args.json || args.out_file.is_some() || args.csv.is_some();
    if !(asked || args.markdown.is_some() || plots) {
        return stage::emit(&lines);
    }
    let groups = tallies.groups(&options).map_err(StageError::failed)?;
    if args.json || args.out_file.is_some() {
        let report = Report {
            scores,
            clean,
            groups: &groups,
            metrics: figures.as_ref(),
            predictions: record(&args.pred_file)?,
            smoltune: env!("CARGO_PKG_VERSION"),
        };
        if let Some(path) = &args.out_file {
            stage::write_json(path, &report)?;
        }
        if args.json {
            return stage::emit_json(&report);
        }
    }
    let mut printed = false;
    if let Some(path) = &args.csv {
        printed |= write_or_print(path, &tables::csv(&groups)?)?;
    }
    if let Some(path) = &args.markdown {
        printed |= write_or_print(path, &tables::markdown(&groups))?;
    }
    if printed {
        return Ok(());
    }
    stage::emit(&lines)?;
    if plots {
        stage::emit(&format!("\n{}", plots::plots(&groups, &tallies.f1)))?;
    }
    Ok(())
}

fn record(path: &Path) -> Result<Option<FileRecord>, StageError> {
    if path == Path::new(STDIN) {
        return Ok(None);
    }
    FileRecord::of(path).map(Some)
}

/// Writes a file, or prints the text where the file is `-`, and says whether it was printed.
fn write_or_print(path: &Path, text: &str) -> Result<bool, StageError> {
    if path == Path::new("-") {
        stage::emit(text.trim_end())?;
        return Ok(true);
    }
    stage::write_text(path, text)?;
    Ok(false)
}

/// Scores the file block by block, and writes the scores of each row where they are asked for.
fn tally(
    args: &Args,
    fields: &Fields,
    options: &ScoreOptions,
    further: &mut Further,
) -> Result<Tallies, StageError> {
    let mut tallies = Tallies::default();
    let mut per_row = args.per_row.as_deref().map(TextFile::create).transpose()?;
    let mut done = 0;
    for_each_block(&args.pred_file, fields, BLOCK, &mut |block| {
        further.push(&block)?;
        let scores = score_predictions(&block, options);
        let words: Vec<Words> = block.par_iter().map(Words::of).collect();
        for ((row, score), words) in block.iter().zip(&scores).zip(words) {
            tallies.push(row, score, words);
        }
        if let Some(file) = &mut per_row {
            file.write(&lines_of(&block, &scores, done)?)?;
        }
        done += block.len();
        Ok(())
    })?;
    per_row.map_or(Ok(()), TextFile::commit)?;
    Ok(tallies)
}

/// The lines of `--per-row` for rows from number `first`.
fn lines_of(
    predictions: &[Prediction],
    scores: &[RowScore],
    first: usize,
) -> Result<String, StageError> {
    let mut out = String::new();
    for (at, (prediction, score)) in predictions.iter().zip(scores).enumerate() {
        let line = Line {
            row: first + at,
            id: prediction.id.as_deref(),
            score,
        };
        out += &serde_json::to_string(&line).map_err(StageError::failed)?;
        out.push('\n');
    }
    Ok(out)
}
