//! Talk to a model in the terminal.
//!
//! Answers appear as they are generated. On a terminal lines are edited and remembered, and Ctrl-C stops an answer;
//! with input from a pipe each line is a turn, and standard output holds the answers alone, one
//! after another. The base model and its adapters share one load of the weights, so that they can take turns and be
//! compared.

#![forbid(unsafe_code)]

mod beside;
mod conversation;
mod input;
mod session;
mod speak;
mod stop;
mod turn;
mod voices;

use std::io::{self, Write};
use std::path::PathBuf;

use loader::{InferenceArgs, ModelArgs};
use stage::StageError;

use conversation::Conversation;
use input::Input;
use session::{Next, Session};
use turn::Turn;
use voices::Voices;

/// Talk to a model.
///
/// /help shows the commands: /system, /adapter, /base, /compare, /temperature, /save, /reset, /exit. Ctrl-C stops an
/// answer. A line that ends with a backslash goes on; """ before and after lines keeps them together.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "chat", version)]
pub struct Args {
    /// Which model
    #[command(flatten)]
    pub model: ModelArgs,
    /// Adapter to use with the model; of several, the last answers first
    #[arg(long, value_name = "DIR", aliases = ["adapter_dir", "adapter"])]
    pub adapter_dir: Vec<PathBuf>,
    /// System message [default: the one the adapter was trained with, else the template's own]
    #[arg(long, value_name = "TEXT", aliases = ["system-prompt", "system_prompt"])]
    pub system: Option<String>,
    /// Use --system even if the adapter was trained with another one
    #[arg(long, alias = "force_system")]
    pub force_system: bool,
    /// Longest answer in tokens
    #[arg(
        long,
        value_name = "N",
        default_value_t = 512,
        alias = "max_new_tokens"
    )]
    pub max_new_tokens: usize,
    /// 0 takes the most likely token; above, tokens are drawn
    #[arg(long, value_name = "T", default_value_t = 0.2)]
    pub temperature: f64,
    /// When drawing, keep the most likely tokens whose probabilities add up to this
    #[arg(long, value_name = "P", default_value_t = 0.9, alias = "top_p")]
    pub top_p: f64,
    /// Seed of the draws
    #[arg(long, value_name = "S", default_value_t = 42)]
    pub seed: u64,
    /// How the model is kept and run
    #[command(flatten)]
    pub inference: InferenceArgs,
}

/// Runs the loop until `/exit` or the end of input.
///
/// # Errors
/// Exit code 2 for flags that contradict each other, 3 for models that cannot be read, 1 when
/// standard input or output fails, 130 after two Ctrl-C at the prompt.
pub fn run(args: &Args) -> Result<(), StageError> {
    if !(args.temperature >= 0.0 && args.temperature.is_finite()) {
        return Err(StageError::usage("--temperature must be 0 or more"));
    }
    if !(args.top_p > 0.0 && args.top_p <= 1.0) {
        return Err(StageError::usage("--top_p must be above 0 and at most 1"));
    }
    let voices = Voices::open(args)?;
    let mut model = voices.load(args)?;
    let mut input = Input::open()?;
    stop::install(input.is_person());
    if input.is_person() {
        say(&format!(
            "{} (/help for commands, Ctrl-D ends)",
            voices.base().description()
        ));
    }
    let conversation = Conversation::new(&mut model, &voices, args)?;
    let mut session = Session::new(conversation, &voices);
    while let Some(text) = input.next(&session.prompt())? {
        if session.take(&Turn::of(&text))? == Next::End {
            break;
        }
    }
    Ok(())
}

/// Writes a piece of an answer at once; `false` when nobody reads any more.
fn write_out(piece: &str) -> Result<bool, StageError> {
    let mut out = io::stdout().lock();
    match out.write_all(piece.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(StageError::failed(format!(
            "cannot write to standard output: {e}"
        ))),
    }
}

fn say(line: &str) {
    // A closed standard error is no reason to stop.
    let _ = writeln!(io::stderr().lock(), "{line}");
}
