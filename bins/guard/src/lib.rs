//! How far fine-tuning has moved a model on texts that have nothing to do with it.
//!
//! A gain on the rows that were tuned for says nothing of what was lost elsewhere. The base and the adapter read the
//! same texts, of other kinds than instruction rows, in one pass: perplexity of both, and the Kullback-Leibler
//! divergence of the adapter's next-token distribution from the base's. With a limit, passing it is exit code 1.

#![forbid(unsafe_code)]

mod drift;
mod texts;

use std::path::{Path, PathBuf};

use loader::{InferenceArgs, ModelSpec, Opened};
use serde::Serialize;
use stage::{Manifest, OrExit, StageError};

pub use drift::{Drift, TextDrift};
pub use texts::{Passage, built_in};

const EXAMPLES: &str = "\
Examples:
  On twelve short texts of different kinds that come with the program:
    guard --model-name adapter

  On your own texts, parted by lines of `---`; more than 0.1 nats a token is a failure:
    guard --model-name adapter --text held-out.txt --max-kl 0.1";

/// Compare an adapter with its base on texts that it was not tuned for.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "guard", version, after_help = EXAMPLES)]
pub struct Args {
    /// The adapter's folder
    #[arg(long, value_name = "DIR", aliases = ["model_name", "model", "adapter"])]
    pub model_name: String,
    /// The base model, in place of the one that the adapter names
    #[arg(long, value_name = "MODEL", alias = "base_model")]
    pub base_model: Option<String>,
    /// Texts to read, parted by lines of `---` [default: twelve that come with the program]
    #[arg(long, value_name = "FILE")]
    pub text: Option<PathBuf>,
    /// Tokens to read of each text
    #[arg(long, value_name = "N", default_value_t = 256, alias = "max_tokens")]
    pub max_tokens: usize,
    /// Texts that are read together; changes the speed, not the figures
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..), alias = "batch_size")]
    pub batch_size: u16,
    /// How the model is kept and run
    #[command(flatten)]
    pub inference: InferenceArgs,
    /// Exit with 1 if the divergence, in nats a token, is above this
    #[arg(
        long,
        value_name = "X",
        alias = "max_kl",
        allow_negative_numbers = true
    )]
    pub max_kl: Option<f64>,
    /// Exit with 1 if perplexity has grown by more than this part, such as 0.05
    #[arg(
        long,
        value_name = "X",
        alias = "max_perplexity_increase",
        allow_negative_numbers = true
    )]
    pub max_perplexity_increase: Option<f64>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Write the JSON object here, too, and its manifest beside it; `compare --guard` reads it
    #[arg(long, value_name = "FILE", alias = "out_file")]
    pub out_file: Option<PathBuf>,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The base model.
    pub model: String,
    /// The adapter's folder.
    pub adapter: String,
    /// How weights are kept.
    pub format: String,
    /// All texts together.
    #[serde(flatten)]
    pub drift: Drift,
    /// Each text.
    pub texts: Vec<TextDrift>,
}

/// Runs the stage and prints what came of it.
///
/// # Errors
/// As [`measure`]; exit code 1 where a limit is passed, after the figures are printed.
pub fn run(args: &Args) -> Result<(), StageError> {
    let (summary, mut manifest) = measured(args)?;
    if let Some(path) = &args.out_file {
        stage::write_json(path, &summary)?;
        manifest.add_output(path)?;
        manifest.write(&manifest_path(path))?;
    }
    if args.json {
        stage::emit_json(&summary)?;
    } else {
        stage::emit(&summary.text())?;
    }
    summary.check(args)
}

/// Does the work of the stage and prints nothing on standard output.
///
/// # Errors
/// Exit code 2 for flags that make no sense or a model without an adapter, 3 for models or texts that cannot be read,
/// 130 after Ctrl-C.
pub fn measure(args: &Args) -> Result<Summary, StageError> {
    measured(args).map(|(summary, _)| summary)
}

/// The figures, and what they were made from.
fn measured(args: &Args) -> Result<(Summary, Manifest), StageError> {
    stage::interrupt::install();
    for (flag, limit) in [
        ("--max-kl", args.max_kl),
        ("--max-perplexity-increase", args.max_perplexity_increase),
    ] {
        if limit.is_some_and(|limit| limit.is_nan() || limit < 0.0) {
            return Err(StageError::usage(format!("{flag} must be at least 0")));
        }
    }
    let passages = match &args.text {
        Some(path) => texts::read(path)?,
        None => built_in(),
    };
    let spec = ModelSpec {
        base_model: args.base_model.clone(),
        ..ModelSpec::new(&args.model_name)
    };
    let opened = loader::open(&spec)?;
    let Some((folder, _)) = opened.adapter() else {
        return Err(StageError::usage(format!(
            "{} is a model without an adapter: there is nothing to compare; name an adapter's folder",
            args.model_name
        )));
    };
    let adapter = folder.display().to_string();
    let manifest = manifest(args, &opened, &adapter)?;
    let longest = args.max_tokens.min(opened.config().max_position_embeddings);
    let encoded = texts::encode(&passages, opened.prompter(), longest)?;
    let mut model = loader::pack(&[&opened], &args.inference)?;
    let texts = drift::read_all(&mut model, &encoded, usize::from(args.batch_size))?;
    let summary = Summary {
        model: opened.base_name().to_owned(),
        adapter,
        format: args.inference.describe(opened.config())?,
        drift: Drift::of(&texts),
        texts,
    };
    Ok((summary, manifest))
}

/// What the figures depend on. How many texts are read together is no part of it.
fn manifest(args: &Args, opened: &Opened, adapter: &str) -> Result<Manifest, StageError> {
    let mut manifest = Manifest::new("guard")
        .argument("max_tokens", args.max_tokens)
        .argument("dtype", args.inference.describe(opened.config())?);
    manifest.model = Some(opened.description().to_owned());
    manifest.adapter = Some(adapter.to_owned());
    if let Some(path) = &args.text {
        manifest.add_input(path)?;
    }
    for path in opened.weight_files().or_bad_data()? {
        manifest.add_input(&path)?;
    }
    Ok(manifest)
}

/// `<out>.manifest.json`, as `generate` has it.
fn manifest_path(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".manifest.json");
    PathBuf::from(name)
}

impl Summary {
    /// A table for people.
    fn text(&self) -> String {
        let width = self.texts.iter().map(|t| t.name.chars().count());
        let width = width.max().unwrap_or(0).max(9);
        let line = |name: &str, drift: &Drift| {
            format!(
                "{name:<width$} {:>7} {:>10.2} {:>10.2} {:>9.4} {:>9.1} %",
                drift.tokens,
                drift.perplexity_before,
                drift.perplexity_after,
                drift.kl,
                100.0 * drift.same_choice
            )
        };
        let mut lines = vec![format!(
            "{:<width$} {:>7} {:>10} {:>10} {:>9} {:>11}",
            "text", "tokens", "ppl before", "ppl after", "KL, nats", "same choice"
        )];
        lines.extend(self.texts.iter().map(|text| line(&text.name, &text.drift)));
        lines.push(line("all", &self.drift));
        lines.push(format!(
            "perplexity {:+.2} %, better on {} of {} texts",
            100.0 * self.drift.increase(),
            self.texts
                .iter()
                .filter(|t| t.drift.increase() < 0.0)
                .count(),
            self.texts.len()
        ));
        lines.join("\n")
    }

    /// Whether the limits hold.
    fn check(&self, args: &Args) -> Result<(), StageError> {
        let (kl, grown) = (self.drift.kl, self.drift.increase());
        if args.max_kl.is_some_and(|limit| above(kl, limit)) {
            return Err(StageError::failed(format!(
                "the divergence is {kl:.4} nats a token, above --max-kl"
            )));
        }
        if args
            .max_perplexity_increase
            .is_some_and(|limit| above(grown, limit))
        {
            return Err(StageError::failed(format!(
                "perplexity has grown by {:.2} %, above --max-perplexity-increase",
                100.0 * grown
            )));
        }
        Ok(())
    }
}

/// A figure that is no number is above every limit.
fn above(figure: f64, limit: f64) -> bool {
    figure.is_nan() || figure > limit
}
