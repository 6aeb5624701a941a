//! Look at LoRA adapters, compare, check and combine them.
//!
//! Everything here works on adapter folders in PEFT's format. Sizes of updates are those of
//! `ΔW = scale · B A` (Frobenius norms), computed from the factors without forming it. `verify` alone needs the base.

#![forbid(unsafe_code)]

mod diff;
mod info;
mod merge;
mod table;
mod verify;

use std::path::Path;

use clap::{Parser, Subcommand};
use lora::Adapter;
use stage::StageError;

pub use diff::{Diff, DiffArgs, diff};
pub use info::{Info, InfoArgs, info};
pub use merge::{Merge, MergeArgs, combine};
pub use verify::{Verified, VerifyArgs, verify};

const EXAMPLES: &str = "\
Examples:
  smoltune adapter info adapter
  smoltune adapter diff adapter other
  smoltune adapter verify adapter
  smoltune adapter merge adapter other --weights 0.7,0.3 --output-dir both";

/// Look at LoRA adapters, compare, check and combine them.
#[derive(Debug, Clone, Parser)]
#[command(name = "adapter", version, after_help = EXAMPLES)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub what: What,
}

/// What can be done.
#[derive(Debug, Clone, Subcommand)]
pub enum What {
    /// Configuration, places, ranks and sizes of updates
    Info(InfoArgs),
    /// How two adapters differ
    Diff(DiffArgs),
    /// Whether an adapter is whole, fits its base, and merges without loss
    Verify(VerifyArgs),
    /// One adapter from several, by weight
    Merge(MergeArgs),
}

/// Runs the stage and prints what came of it.
///
/// # Errors
/// As the function of each command; also when standard output cannot be written.
pub fn run(args: &Args) -> Result<(), StageError> {
    match &args.what {
        What::Info(args) => {
            let found = info(args)?;
            if args.json {
                return stage::emit_json(&found);
            }
            stage::emit(&found.text(args.modules))
        }
        What::Diff(args) => {
            let found = diff(args)?;
            if args.json {
                return stage::emit_json(&found);
            }
            stage::emit(&found.text(args.modules))
        }
        What::Verify(args) => {
            let found = verify(args)?;
            if args.json {
                stage::emit_json(&found)?;
            } else {
                stage::emit(&found.text())?;
            }
            found.outcome()
        }
        What::Merge(args) => {
            let made = combine(args)?;
            if args.json {
                return stage::emit_json(&made);
            }
            stage::emit(&made.text())
        }
    }
}

/// Reads an adapter; what is wrong with it is exit code 3.
fn load(dir: &Path) -> Result<Adapter, StageError> {
    if !loader::is_adapter(dir) {
        return Err(StageError::bad_data(loader::LoadError::NotAnAdapter {
            dir: dir.to_path_buf(),
        }));
    }
    Adapter::load(dir).map_err(StageError::bad_data)
}
