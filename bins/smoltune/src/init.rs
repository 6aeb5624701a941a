//! `smoltune init`: a configuration to begin with.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use stage::{StageError, emit};

use crate::config::{self, Config, Overrides};

/// Write a smoltune.toml with every key, what it means and its choices.
#[derive(ClapArgs, Debug)]
#[command(after_help = "Examples:\n  \
    smoltune init\n  \
    smoltune init --preset quality my.toml && smoltune run --config my.toml")]
pub(crate) struct Args {
    /// The file to write
    #[arg(value_name = "FILE", default_value = "smoltune.toml")]
    file: PathBuf,
    /// Recipe to start from: fast, quality, original or original-2
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), StageError> {
    let file = args.file.display();
    let flags = Overrides {
        preset: args.preset.clone(),
        ..Overrides::default()
    };
    let config = config::load(&Config::default(), None, &flags, Vec::new())?;
    if args.file.exists() && !args.force {
        return Err(StageError::usage(format!(
            "{file} is there already; name another file, or pass --force to write over it"
        )));
    }
    stage::write_text(&args.file, &config::template(&config)?)?;
    emit(&format!(
        "{file}: edit it, then smoltune run --config {file}"
    ))
}
