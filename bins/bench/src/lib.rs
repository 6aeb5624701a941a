//! How fast a model is on this machine, against what the machine can do.
//!
//! `prefill` reads a prompt, `decode` continues several of them token by token, `generate` answers through the engine
//! that the `generate` stage uses, `train` makes optimiser steps as the `train` stage does. Each is run a few times; the
//! median counts. Beside the rates stand the machine's measured peaks: reading bandwidth bounds decoding, products of
//! matrices bound prefill and training.

#![forbid(unsafe_code)]

mod memory;
mod peaks;
mod runs;
mod training;

use clap::{Parser, Subcommand};
use cpu_gemm::Format;
use loader::{InferenceArgs, Model, ModelSpec};
use serde::Serialize;
use stage::{OrExit, StageError};

use peaks::Peaks;
use runs::Measured;

pub use training::{TrainArgs, TrainSummary, measure_training};

/// Measure how fast a model reads prompts, answers, and learns.
///
/// Examples:
///   smoltune bench prefill --model model.gguf --tokens 512
///   smoltune bench decode --model model.gguf --prompt 128 --tokens 64 --batch 15
///   smoltune bench generate --model model.gguf --rows 15 --tokens 256 --json
///   smoltune bench train --model model.gguf --train-csv data/train.csv --dtype bf16
#[derive(Debug, Clone, Parser)]
#[command(name = "bench", version, verbatim_doc_comment)]
pub struct Args {
    /// What to measure
    #[command(subcommand)]
    pub what: What,
}

/// What can be measured.
#[derive(Debug, Clone, Subcommand)]
pub enum What {
    /// A model that answers
    #[command(flatten)]
    Inference(Inference),
    /// Fine-tune for a few optimiser steps, as train does
    Train(TrainArgs),
}

/// What can be measured of a model that answers.
#[derive(Debug, Clone, Subcommand)]
pub enum Inference {
    /// Read a prompt
    Prefill {
        /// Tokens of the prompt
        #[arg(long, value_name = "N", default_value_t = 512)]
        tokens: usize,
        /// Everything else
        #[command(flatten)]
        common: Common,
    },
    /// Continue prompts token by token
    Decode {
        /// Tokens of each prompt
        #[arg(long, value_name = "N", default_value_t = 128)]
        prompt: usize,
        /// Tokens to continue each with
        #[arg(long, value_name = "N", default_value_t = 64)]
        tokens: usize,
        /// Prompts continued together
        #[arg(long, value_name = "N", default_value_t = 1)]
        batch: usize,
        /// Everything else
        #[command(flatten)]
        common: Common,
    },
    /// Answer several prompts, prompts and answers counted together
    Generate {
        /// Prompts
        #[arg(long, value_name = "N", default_value_t = 15)]
        rows: usize,
        /// Tokens of each prompt
        #[arg(long, value_name = "N", default_value_t = 128)]
        prompt: usize,
        /// Tokens of each answer
        #[arg(long, value_name = "N", default_value_t = 128)]
        tokens: usize,
        /// Answers in progress at a time
        #[arg(long, value_name = "N", default_value_t = 16)]
        batch: usize,
        /// Everything else
        #[command(flatten)]
        common: Common,
    },
}

/// The model, and how to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct Common {
    /// The model: hub id, folder, .gguf file, or an adapter folder
    #[arg(long, value_name = "MODEL", aliases = ["model-name", "model_name"])]
    pub model: String,
    /// How the model is kept and run
    #[command(flatten)]
    pub inference: InferenceArgs,
    /// Times to measure; the median counts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub repeats: u16,
    /// Leave the machine's peaks out
    #[arg(long)]
    pub no_peaks: bool,
    /// Print the outcome as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// What was measured.
    pub test: &'static str,
    /// The model.
    pub model: String,
    /// How its weights are kept.
    pub format: String,
    /// Threads.
    pub threads: usize,
    /// Tokens a second, the median of all runs.
    pub tokens_per_s: f64,
    /// The slowest and the fastest run.
    pub range: [f64; 2],
    /// Seconds from the first pass of a run to its first token.
    pub time_to_first_token_s: f64,
    /// Seconds that loading and packing took.
    pub load_s: f64,
    /// Most memory of this process so far, in MB; 0 where the system does not say.
    pub peak_rss_mb: f64,
    /// GFLOP/s of the linear layers.
    pub gflops: f64,
    /// GB/s of weights read, each once for a pass.
    pub gbps: f64,
    /// What the machine can do.
    #[serde(flatten)]
    pub peaks: Option<Peaks>,
}

/// Runs the stage and prints what came of it.
///
/// # Errors
/// Exit code 2 for settings that make no sense, 3 for models that cannot be read, 1 when standard output fails.
pub fn run(args: &Args) -> Result<(), StageError> {
    match &args.what {
        What::Inference(what) => {
            let summary = measure(what)?;
            print(&summary, what.common().json, &table(&summary))
        }
        What::Train(args) => {
            let summary = measure_training(args)?;
            print(&summary, args.json, &summary.table())
        }
    }
}

fn print(summary: &impl Serialize, json: bool, table: &str) -> Result<(), StageError> {
    if json {
        stage::emit_json(summary)
    } else {
        stage::emit(table)
    }
}

impl Inference {
    fn common(&self) -> &Common {
        match self {
            Self::Prefill { common, .. }
            | Self::Decode { common, .. }
            | Self::Generate { common, .. } => common,
        }
    }

    /// Counts of which none may be 0.
    fn counts(&self) -> Vec<(&'static str, usize)> {
        match *self {
            Self::Prefill { tokens, .. } => vec![("--tokens", tokens)],
            Self::Decode {
                prompt,
                tokens,
                batch,
                ..
            } => vec![
                ("--prompt", prompt),
                ("--tokens", tokens),
                ("--batch", batch),
            ],
            Self::Generate {
                rows,
                prompt,
                tokens,
                batch,
                ..
            } => vec![
                ("--rows", rows),
                ("--prompt", prompt),
                ("--tokens", tokens),
                ("--batch", batch),
            ],
        }
    }
}

/// Measures a model that answers, and prints nothing.
///
/// # Errors
/// As [`run`].
pub fn measure(what: &Inference) -> Result<Summary, StageError> {
    let common = what.common();
    if let Some((flag, _)) = what.counts().into_iter().find(|(_, count)| *count == 0) {
        return Err(StageError::usage(format!(
            "{flag} is 0, expected at least 1"
        )));
    }
    let started = std::time::Instant::now();
    let opened = loader::open(&ModelSpec::new(&common.model))?;
    let mut model = loader::pack(&[&opened], &common.inference)?;
    let load_s = started.elapsed().as_secs_f64();
    let measured = Measured::of(common.repeats, || one(what, &mut model)).or_usage()?;
    let peak_rss_mb = memory::peak_mb();
    let threads = model.threads();
    Ok(Summary {
        test: match what {
            Inference::Prefill { .. } => "prefill",
            Inference::Decode { .. } => "decode",
            Inference::Generate { .. } => "generate",
        },
        model: opened.description().to_owned(),
        format: common.inference.describe(opened.config())?,
        threads,
        tokens_per_s: measured.rate,
        range: measured.range,
        time_to_first_token_s: measured.first_token,
        load_s,
        peak_rss_mb,
        gflops: measured.rate * model.linear_flops_per_token() as f64 / 1e9,
        gbps: measured.passes_per_s * model.bytes_per_token() as f64 / 1e9,
        peaks: (!common.no_peaks)
            .then(|| Peaks::measure(threads, Format::Bf16))
            .transpose()
            .or_failed()?,
    })
}

fn one(what: &Inference, model: &mut Model) -> Result<runs::Run, loader::smollm_model::ModelError> {
    match *what {
        Inference::Prefill { tokens, .. } => runs::prefill(model, tokens),
        Inference::Decode {
            prompt,
            tokens,
            batch,
            ..
        } => runs::decode(model, prompt, tokens, batch),
        Inference::Generate {
            rows,
            prompt,
            tokens,
            batch,
            ..
        } => runs::generate(model, rows, (prompt, tokens), batch),
    }
}

fn table(s: &Summary) -> String {
    let peaks = s.peaks.as_ref();
    lines([
        ("test", s.test.to_owned()),
        ("model", s.model.clone()),
        ("weights", s.format.clone()),
        ("threads", s.threads.to_string()),
        (
            "tokens/s",
            format!(
                "{:.1} ({:.1} to {:.1})",
                s.tokens_per_s, s.range[0], s.range[1]
            ),
        ),
        (
            "first token, ms",
            format!("{:.1}", s.time_to_first_token_s * 1e3),
        ),
        ("load, ms", format!("{:.0}", s.load_s * 1e3)),
        ("peak memory, MB", format!("{:.0}", s.peak_rss_mb)),
        ("GFLOP/s", share(s.gflops, peaks.map(|p| p.peak_gflops))),
        ("GB/s of weights", share(s.gbps, peaks.map(|p| p.peak_gbps))),
    ])
}

/// A figure, and how much of the peak it is.
fn share(value: f64, peak: Option<f64>) -> String {
    match peak {
        Some(peak) => format!("{value:.1} ({:.0} % of {peak:.1})", 100.0 * value / peak),
        None => format!("{value:.1}"),
    }
}

fn lines<const N: usize>(rows: [(&str, String); N]) -> String {
    rows.map(|(name, value)| format!("{name:<16} {value}"))
        .join("\n")
}
