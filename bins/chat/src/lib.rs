//! Talk to a model in the terminal.
//!
//! Answers appear as they are generated. On a terminal there is a prompt and Ctrl-C stops an answer;
//! with input from a pipe each line is a turn, and standard output holds the answers alone, one
//! after another.

#![forbid(unsafe_code)]

mod conversation;
mod stop;

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;

use clap::ValueEnum;
use loader::{DEFAULT_MODEL, DType, LoadError, ModelSpec};
use stage::{OrExit, StageError};

use conversation::Conversation;

/// Talk to a model.
///
/// Commands: /reset forgets the conversation, /system TEXT sets the system message and starts again,
/// /help shows them, /exit or end of input ends. Ctrl-C stops an answer.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "chat", version)]
pub struct Args {
    /// The model: hub id, folder, .gguf file, or an adapter folder [default: HuggingFaceTB/SmolLM2-135M-Instruct]
    #[arg(long, value_name = "MODEL", aliases = ["model_name", "model"])]
    pub model_name: Option<String>,
    /// The base model, in place of the one that the adapter names; alone, the model
    #[arg(long, value_name = "MODEL", alias = "base_model")]
    pub base_model: Option<String>,
    /// Adapter to use with the model
    #[arg(long, value_name = "DIR", aliases = ["adapter_dir", "adapter"])]
    pub adapter_dir: Option<PathBuf>,
    /// Revision of a hub model
    #[arg(long)]
    pub revision: Option<String>,
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
    /// How the weights are kept
    #[arg(long, value_enum, default_value_t)]
    pub dtype: Precision,
}

/// How weights are kept; the arithmetic is f32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// 32 bits
    #[default]
    #[value(alias = "float32")]
    F32,
    /// 16 bits, with f32's range
    #[value(alias = "bfloat16")]
    Bf16,
}

impl Args {
    fn model(&self) -> ModelSpec {
        let adapter = self
            .adapter_dir
            .as_ref()
            .map(|dir| dir.display().to_string());
        let base = if adapter.is_some() {
            None
        } else {
            self.base_model.clone()
        };
        let named = self.model_name.clone().or(base).or(adapter);
        ModelSpec {
            model_name: named.unwrap_or_else(|| DEFAULT_MODEL.to_owned()),
            base_model: self.base_model.clone(),
            adapter_dir: self.adapter_dir.clone(),
            revision: self.revision.clone(),
            dtype: match self.dtype {
                Precision::F32 => DType::F32,
                Precision::Bf16 => DType::BF16,
            },
        }
    }
}

/// Runs the loop until `/exit` or the end of input.
///
/// # Errors
/// Exit code 2 for flags that contradict each other, 3 for models that cannot be read, 1 when
/// standard input or output fails.
pub fn run(args: &Args) -> Result<(), StageError> {
    if !(args.temperature >= 0.0 && args.temperature.is_finite()) {
        return Err(StageError::usage("--temperature must be 0 or more"));
    }
    if !(args.top_p > 0.0 && args.top_p <= 1.0) {
        return Err(StageError::usage("--top_p must be above 0 and at most 1"));
    }
    let model = args.model();
    let opened = loader::open(&model).map_err(load_error)?;
    let trained = opened.adapter().map(|(dir, _)| dir);
    let system = stage::system_prompt(args.system.as_deref(), trained, args.force_system)?;
    let loaded = opened.load(model.dtype).map_err(load_error)?;
    stop::install();
    let person = io::stdin().is_terminal();
    if person {
        say(&format!(
            "{} (/help for commands, Ctrl-D ends)",
            loaded.description
        ));
    }
    let mut conversation = Conversation::new(&loaded, args, system);
    let mut lines = Lines::default();
    while let Some(line) = lines.next(person)? {
        match Turn::of(&line) {
            Turn::Nothing => {}
            Turn::Exit => break,
            Turn::Help => say(
                "/reset  forget the conversation\n/system TEXT  set the system message and start again\n/exit  end",
            ),
            Turn::Reset => {
                conversation.reset();
                say("(forgotten)");
            }
            Turn::System(text) => {
                conversation.set_system(text);
                say("(new conversation)");
            }
            Turn::Unknown(command) => say(&format!("no such command: {command}; /help shows them")),
            Turn::Say(text) => {
                if conversation.reply(text, &mut write_out)? == conversation::Reply::Closed {
                    break;
                }
            }
        }
    }
    Ok(())
}

fn load_error(error: LoadError) -> StageError {
    if error.is_usage() {
        StageError::usage(error)
    } else {
        StageError::bad_data(error)
    }
}

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Turn<'a> {
    Nothing,
    Exit,
    Help,
    Reset,
    System(&'a str),
    Unknown(&'a str),
    Say(&'a str),
}

impl<'a> Turn<'a> {
    fn of(line: &'a str) -> Self {
        let text = line.trim();
        let (command, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        match command {
            "" => Self::Nothing,
            "/exit" | "/quit" => Self::Exit,
            "/help" => Self::Help,
            "/reset" => Self::Reset,
            "/system" => Self::System(rest.trim()),
            // A path such as /etc/hosts is text, not a command.
            _ if rest.is_empty() && command.starts_with('/') && !command[1..].contains('/') => {
                Self::Unknown(command)
            }
            _ => Self::Say(text),
        }
    }
}

/// Lines of standard input.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    /// The next line, with a prompt on a terminal; `None` at the end of input.
    fn next(&mut self, person: bool) -> Result<Option<String>, StageError> {
        if person {
            let mut err = io::stderr().lock();
            // A closed standard error is no reason to stop.
            let _ = write!(err, "\n> ").and_then(|()| err.flush());
        }
        self.0.clear();
        if io::stdin()
            .lock()
            .read_until(b'\n', &mut self.0)
            .or_failed()?
            == 0
        {
            return Ok(None);
        }
        let line = std::str::from_utf8(&self.0).map_err(|e| {
            StageError::bad_data(format!("a line of standard input is not UTF-8: {e}"))
        })?;
        Ok(Some(line.to_owned()))
    }
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

#[cfg(test)]
mod tests {
    use super::Turn;

    #[test]
    fn commands_are_told_from_text() {
        assert_eq!(Turn::of("  \n"), Turn::Nothing);
        assert_eq!(Turn::of("/exit\n"), Turn::Exit);
        assert_eq!(Turn::of("/system  Be brief. \n"), Turn::System("Be brief."));
        assert_eq!(Turn::of("/rest"), Turn::Unknown("/rest"));
        assert_eq!(Turn::of("/etc/hosts"), Turn::Say("/etc/hosts"));
        assert_eq!(Turn::of("/ is a slash"), Turn::Say("/ is a slash"));
        assert_eq!(Turn::of("Hello, you.\n"), Turn::Say("Hello, you."));
    }
}
