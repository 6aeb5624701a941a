//! The first stage: read instruction data, split it with a seed, prove that it is right, and write
//! it for the other stages.
//!
//! What it leaves out, it counts; what leaks from training into the test set, it reports, flags and,
//! if asked to, removes; with a model's tokenizer it encodes every row as training will and proves
//! its label mask, before a second of training is spent.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let dir = tempfile::tempdir()?;
//! let source = dir.path().join("rows.csv");
//! std::fs::write(&source, "instruction,response\n2+2?,4\n2+3?,5\n2+4?,6\n")?;
//!
//! let args = prepare::Args {
//!     out: Some(dir.path().join("data")),
//!     ..prepare::Args::new(source.to_string_lossy())
//! };
//! let done = prepare::prepare(&args)?;
//! assert_eq!(done.split.unwrap().train.rows, 2);
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod args;
mod audit;
mod card;
mod origin;
mod parts;
mod sizes;
mod summary;
mod table;
mod text;
mod write;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use dolly_data::{DataError, FoldSpec, GroupBy, ReadOptions, Source, read_parts};
use stage::{OrExit, StageError};

pub use args::{Args, Group, OnTruncate, Stratify};
pub use origin::{HubOrigin, Origin};
pub use summary::{MaskAudit, Part, SplitSummary, Summary};

use audit::Auditor;
use parts::Parts;

/// Where the files go unless said otherwise.
const DEFAULT_OUT: &str = "data";

/// Runs the stage and prints what came of it.
///
/// # Errors
/// As [`prepare`]; also when standard output cannot be written.
pub fn run(args: &Args) -> Result<(), StageError> {
    let summary = prepare(args)?;
    if args.json {
        stage::emit_json(&summary)
    } else {
        stage::emit(&text::describe(&summary))
    }
}

/// Does the work of the stage and prints nothing on standard output.
///
/// # Errors
/// Exit code 3 for data that cannot be read or used, 2 for a split that the source cannot give,
/// 1 when the hub cannot be reached or a file not be written. Nothing is written before all is
/// known to be right.
pub fn prepare(args: &Args) -> Result<Summary, StageError> {
    let auditor = Auditor::new(args)?;
    let origin = origin::locate(&args.source)?;
    let options = ReadOptions {
        map: args.map.clone().unwrap_or_default(),
        view: args.view,
    };
    let source = read_parts(&origin.paths, &options).map_err(data_error)?;
    let mut summary = summarise(args, &origin, &source)?;
    let Some(out) = out_folder(args) else {
        return Ok(summary);
    };
    let work = split(args, &source, &mut summary)?;
    // From here on the parts hold all that is needed.
    drop(source);
    let mut prepared = Vec::with_capacity(work.len());
    for (folder, mut parts) in work {
        let mut split = parts.audit_leaks(args);
        if let Some(auditor) = &auditor {
            split.audit = Some(parts.audit_masks(auditor, args)?);
        }
        prepared.push((out.join(folder), parts, split));
    }
    if let (Some(auditor), Some((_, parts, _))) = (&auditor, prepared.first()) {
        summary.masks = parts.masks(auditor, args.show_mask, io::stdout().is_terminal())?;
    }
    for (folder, parts, split) in &mut prepared {
        write::all(
            folder,
            args,
            &origin,
            parts,
            split,
            &summary,
            auditor.as_ref(),
        )?;
    }
    let mut splits = prepared.into_iter().map(|(_, _, split)| split);
    if args.folds.is_some() {
        summary.folds = splits.collect();
    } else {
        summary.split = splits.next();
    }
    Ok(summary)
}

fn summarise(args: &Args, origin: &Origin, source: &Source) -> Result<Summary, StageError> {
    let all = source.rows().map_err(data_error)?;
    let mut summary = Summary {
        shown: all.rows.iter().take(args.show).cloned().collect(),
        ..Summary::new(origin, source, &all)
    };
    let repeated = source.repeated_ids();
    if let Some((id, lines)) = repeated.first() {
        summary.repeated_ids = repeated.len();
        let lines: Vec<String> = lines.iter().take(3).map(u64::to_string).collect();
        summary.notes.push(format!(
            "{} ids occur more than once (the first: {id:?}, lines {}); rows are told apart by their key",
            repeated.len(),
            lines.join(", ")
        ));
    }
    Ok(summary)
}

/// The split, or the folds, each with the folder that it goes into.
fn split(
    args: &Args,
    source: &Source,
    summary: &mut Summary,
) -> Result<Vec<(PathBuf, Parts)>, StageError> {
    let group_by = args.group_by.map(GroupBy::from);
    if let Some(folds) = args.folds {
        let spec = FoldSpec {
            seed: args.seed,
            folds,
            stratify: args.stratify.is_some(),
            group_by,
        };
        let splits = source.folds(&spec).map_err(data_error)?.into_iter();
        let named = splits.enumerate().map(|(at, split)| {
            let folder = PathBuf::from(format!("fold-{}", at + 1));
            (folder, Parts::new(split))
        });
        return Ok(named.collect());
    }
    let (spec, note) = sizes::choose(args, source.len())?;
    summary.notes.extend(note);
    let split = source.split(&spec).map_err(data_error)?;
    Ok(vec![(PathBuf::new(), Parts::new(split))])
}

/// The folder to write into; none when rows are only to be shown.
fn out_folder(args: &Args) -> Option<PathBuf> {
    match &args.out {
        Some(out) => Some(out.clone()),
        None if args.show > 0 => None,
        None => Some(PathBuf::from(DEFAULT_OUT)),
    }
}

/// Refuses to write over a file that was read.
fn spare_source(sources: &[PathBuf], output: &Path) -> Result<(), StageError> {
    let Ok(there) = output.canonicalize() else {
        return Ok(());
    };
    let mut read = sources
        .iter()
        .filter_map(|source| source.canonicalize().ok());
    if read.any(|source| source == there) {
        return Err(StageError::usage(format!(
            "{} is the source itself and would be written over; name another folder with --out",
            output.display()
        )));
    }
    Ok(())
}

/// Each error of the data with the exit code that it deserves.
fn data_error(error: DataError) -> StageError {
    match error {
        DataError::Write { .. } | DataError::Hub { .. } => StageError::failed(error),
        error if error.is_usage() => StageError::usage(error),
        error => StageError::bad_data(error),
    }
}

/// An error of the tokenizer on a row.
fn encoding<T>(result: chat_prompt::Result<T>) -> Result<T, StageError> {
    result.or_bad_data()
}
