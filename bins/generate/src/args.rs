//! The stage's command line.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use chat_prompt::Date;
use clap::ValueEnum;
use loader::{InferenceArgs, ModelArgs};
use smollm_model::{EngineLimits, Sampling};
use stage::{OrExit, StageError};

/// Answer every row of a data file.
///
/// Appends one JSON object a row to the output file, in the order of the rows. A run that was
/// stopped goes on where it was when the same command is given again; without its output file it
/// starts again.
#[derive(Debug, Clone, clap::Parser)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
#[command(name = "generate", version)]
pub struct Args {
    /// Which model
    #[command(flatten)]
    pub model: ModelArgs,
    /// Adapter to use with the model; several share one load of the base, each with an output file named after its folder
    #[arg(long, value_name = "DIR", aliases = ["adapter_dir", "adapter"])]
    pub adapter_dir: Vec<PathBuf>,
    /// Answer with the base model too
    #[arg(long, alias = "with_base")]
    pub with_base: bool,
    /// What the rows' file holds, and what is written
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// With --format openai: another name that requests may call the model by
    #[arg(long, value_name = "NAME", alias = "served_model_name")]
    pub served_model_name: Option<String>,
    /// Rows to answer: .csv, .jsonl or .json; with --format openai, requests
    #[arg(long, value_name = "FILE", default_value = "data/test.csv", aliases = ["test_csv", "test-file", "test_file"])]
    pub test_csv: PathBuf,
    /// File to append the answers to
    #[arg(long, value_name = "FILE", default_value = "predictions.jsonl", aliases = ["out_file", "out"])]
    pub out_file: PathBuf,
    /// System prompt for every row [default: the one the adapter was trained with, else the template's own]
    #[arg(long, value_name = "TEXT", aliases = ["system-prompt", "system_prompt"])]
    pub system: Option<String>,
    /// Use --system even if the adapter was trained with another one
    #[arg(long, alias = "force_system")]
    pub force_system: bool,
    /// Date for templates that write one into the prompt, as YYYY-MM-DD [default: today]
    #[arg(long, value_name = "DATE")]
    pub date: Option<Date>,
    /// Longest prompt in tokens; the context of a longer one is shortened
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1024,
        alias = "max_prompt_len"
    )]
    pub max_prompt_len: usize,
    /// Longest answer in tokens
    #[arg(
        long,
        value_name = "N",
        default_value_t = 256,
        alias = "max_new_tokens"
    )]
    pub max_new_tokens: usize,
    /// End an answer where this text begins; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// 0 takes the most likely token; above, tokens are drawn
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    pub temperature: f64,
    /// When drawing, keep this many of the most likely tokens [default: all]
    #[arg(long, value_name = "K", alias = "top_k")]
    pub top_k: Option<usize>,
    /// When drawing, keep tokens at least this share as likely as the most likely one [default: all]
    #[arg(long, value_name = "P", alias = "min_p")]
    pub min_p: Option<f64>,
    /// Above 1, makes tokens that stand in the prompt or the answer less likely
    #[arg(
        long,
        value_name = "X",
        default_value_t = 1.0,
        alias = "repetition_penalty"
    )]
    pub repetition_penalty: f64,
    /// When drawing, keep the most likely tokens whose probabilities add up to this [default: all]
    #[arg(long, value_name = "P", alias = "top_p")]
    pub top_p: Option<f64>,
    /// Draw N answers a row and keep the likeliest, by mean log-probability
    #[arg(long, value_name = "N", default_value_t = 1, alias = "best_of")]
    pub best_of: usize,
    /// Write each answer's tokens with their log-probabilities
    #[arg(long)]
    pub logprobs: bool,
    /// Rows answered together; changes the speed, not the answers
    #[arg(long, value_name = "N", default_value_t = 16, aliases = ["batch_size", "bs"])]
    pub batch_size: usize,
    /// How the model is kept and run
    #[command(flatten)]
    pub inference: InferenceArgs,
    /// Seed of the draws; a row's draws follow from it and the row's content, whatever else is answered
    #[arg(long, value_name = "S", default_value_t = 42)]
    pub seed: u64,
    /// Answer the first N rows only
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Answer part I of N only: rows I, I + N, I + 2N … (I from 1), so that N machines share the work
    #[arg(long, value_name = "I/N")]
    pub shard: Option<Shard>,
    /// Answer K of the rows once more, each alone, and fail if an answer differs
    #[arg(long, value_name = "K", default_value_t = 0, alias = "check_batch")]
    pub check_batch: usize,
    /// Start again even if the output file is there
    #[arg(long)]
    pub overwrite: bool,
    /// Cut prompts at their end and stop at `<|im_end|>` alone, as the original program does
    #[arg(long, value_enum)]
    pub compat: Option<Compat>,
    /// Print the outcome as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// One of several parts of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which part, from 0.
    pub index: usize,
    /// How many parts there are.
    pub count: usize,
}

impl Shard {
    /// Whether the row at `position` belongs to this part.
    pub(crate) fn has(self, position: usize) -> bool {
        position % self.count == self.index
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/');
        match parts.map(|(i, n)| (i.parse::<usize>(), n.parse::<usize>())) {
            Some((Ok(i), Ok(count))) if (1..=count).contains(&i) => Ok(Self {
                index: i - 1,
                count,
            }),
            _ => Err("expected I/N with I from 1 to N, such as 2/4".to_owned()),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index + 1, self.count)
    }
}

/// What the files hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Rows in, predictions out
    #[default]
    Rows,
    /// Requests of OpenAI's batch API in, its responses out
    Openai,
}

/// Whose behaviour to reproduce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Compat {
    /// The Python program that this one replaces
    Original,
}

impl Args {
    /// Whether to do as the original program does.
    pub(crate) fn as_original(&self) -> bool {
        self.compat == Some(Compat::Original)
    }

    /// How the tokens of an answer are chosen whose draws are called `stream`.
    pub(crate) fn sampling(&self, stream: u64) -> Sampling {
        Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            seed: self.seed,
            stream,
        }
    }

    pub(crate) fn limits(&self) -> EngineLimits {
        EngineLimits {
            batch_size: self.batch_size,
            ..EngineLimits::default()
        }
    }

    /// Settings that make no sense, told before anything is read.
    ///
    /// # Errors
    /// Exit code 2, with what would be right.
    pub(crate) fn check(&self) -> Result<(), StageError> {
        for (flag, value) in [
            ("--max_prompt_len", self.max_prompt_len),
            ("--max_new_tokens", self.max_new_tokens),
            ("--batch_size", self.batch_size),
            ("--best_of", self.best_of),
        ] {
            if value == 0 {
                return wrong(flag, "0", "at least 1");
            }
        }
        self.sampling(0).check().or_usage()?;
        if self.best_of > 1 && self.temperature == 0.0 {
            let found = self.best_of.to_string();
            return wrong(
                "--best_of",
                &found,
                "1 where --temperature is 0: all answers are equal",
            );
        }
        if self.stop.iter().any(String::is_empty) {
            return wrong("--stop", "empty", "a text");
        }
        if self.format == Format::Openai && (self.best_of > 1 || self.shard.is_some()) {
            let text = "--format openai has no --best_of and no --shard; requests have n";
            return Err(StageError::usage(text));
        }
        Ok(())
    }
}

fn wrong(flag: &str, found: &str, expected: &str) -> Result<(), StageError> {
    Err(StageError::usage(format!(
        "{flag} is {found}, expected {expected}"
    )))
}
