//! Scores a file of predictions.
//!
//! Reads what `generate` writes (or any JSONL with `gold` and `prediction`), scores every row, and
//! prints the means over all rows and over those with a short gold answer: for people as lines, for
//! scripts as JSON. Where `prepare` flagged rows that training had seen (`leak`), the means over the
//! others stand beside them.
#![forbid(unsafe_code)]

mod error;
mod lines;
mod predictions;

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use serde::Serialize;
use stage::{FileRecord, StageError};
use textmetrics::{Compat, Metrics, RowScore, ScoreOptions, Scores, Summary, score_rows};

pub use error::PredictionError;
pub use predictions::{Prediction, load_predictions, parse_predictions};

/// Score answers against gold answers.
#[derive(Debug, Parser)]
#[command(name = "evaluate", version)]
pub struct Args {
    /// Predictions, one JSON object a line with at least `gold` and `prediction`
    #[arg(long, alias = "pred_file", value_name = "FILE")]
    pub pred_file: PathBuf,
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
    /// Print one JSON object instead of lines
    #[arg(long)]
    pub json: bool,
    /// Write the scores here as JSON too
    #[arg(long, alias = "out_file", value_name = "FILE")]
    pub out_file: Option<PathBuf>,
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

/// Scores every prediction, in order, on all threads.
pub fn score_predictions(predictions: &[Prediction], options: &ScoreOptions) -> Vec<RowScore> {
    score_rows(predictions, options, |row| (&row.gold, &row.prediction))
}

/// The scores with what they were made from.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    scores: Scores,
    #[serde(skip_serializing_if = "Option::is_none")]
    clean: Option<Metrics>,
    predictions: FileRecord,
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
    let predictions = load_predictions(&args.pred_file)?;
    let rows = score_predictions(&predictions, &options);
    let scores = rows.iter().collect::<Summary>().scores(&options);
    let clean = clean_scores(&predictions, &rows, &options);
    if let Some(path) = &args.per_row {
        stage::write_text(path, &per_row(&predictions, &rows)?)?;
    }
    if args.json || args.out_file.is_some() {
        let predictions = FileRecord::of(&args.pred_file)?;
        let report = Report {
            scores,
            clean,
            predictions,
            smoltune: env!("CARGO_PKG_VERSION"),
        };
        if let Some(path) = &args.out_file {
            stage::write_json(path, &report)?;
        }
        if args.json {
            return stage::emit_json(&report);
        }
    }
    stage::emit(&lines::lines(&scores, clean.as_ref()))
}

/// The means over the rows that training had not seen, where some row is flagged that it had.
fn clean_scores(
    predictions: &[Prediction],
    rows: &[RowScore],
    options: &ScoreOptions,
) -> Option<Metrics> {
    let clean = |(row, _): &(&Prediction, &RowScore)| row.leak.is_none();
    let both = predictions.iter().zip(rows);
    let kept: Summary = both.filter(clean).map(|(_, score)| score).collect();
    let flagged = predictions.iter().any(|row| row.leak.is_some());
    flagged.then(|| kept.scores(options).all)
}

fn per_row(predictions: &[Prediction], rows: &[RowScore]) -> Result<String, StageError> {
    let mut out = String::new();
    for (row, (prediction, score)) in predictions.iter().zip(rows).enumerate() {
        let line = Line {
            row,
            id: prediction.id.as_deref(),
            score,
        };
        out += &serde_json::to_string(&line).map_err(StageError::failed)?;
        out.push('\n');
    }
    Ok(out)
}
