//! The first stage: read instruction data, split it with a seed, write it for the other stages.
//!
//! It loads no model and no tokenizer, and for a local file it needs no network. What it leaves
//! out, it counts; what leaks from training into the test set, it reports and keeps.
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

mod origin;
mod sizes;
mod summary;
mod text;

use std::path::{Path, PathBuf};

use dolly_data::{DataError, Row, Split, overlaps, read_source, write_csv, write_jsonl};
use stage::{Manifest, StageError};

pub use origin::{HubOrigin, Origin};
pub use summary::{OverlapSummary, PartSummary, SplitSummary, Summary};

/// Where the files go unless said otherwise.
const DEFAULT_OUT: &str = "data";

/// Read instruction data and split it with a seed.
///
/// Writes train.csv, train.jsonl, test.csv, test.jsonl and manifest.json. The split is that of
/// `numpy.random.default_rng(SEED).permutation(rows)`: the first rows are the test set, those
/// after them the training set.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "prepare", version)]
pub struct Args {
    /// A .csv, .jsonl or .json file, or a data set of the Hugging Face hub: OWNER/NAME, optionally with @REVISION and :FILE
    #[arg(long, value_name = "FILE|HUB_ID", aliases = ["input", "input-csv", "input_csv", "dataset", "dataset-name", "dataset_name"])]
    pub source: String,
    /// Seed of the split
    #[arg(long, default_value_t = 42, value_name = "S")]
    pub seed: u64,
    /// Rows to draw for the test set [default: 15, fewer from a small source]
    #[arg(long, value_name = "N", aliases = ["test-size", "test_size", "n-test", "n_test"])]
    pub test: Option<usize>,
    /// Rows to draw for the training set [default: 1000, fewer from a small source]
    #[arg(long, value_name = "N", aliases = ["train-size", "train_size", "n-train", "n_train"])]
    pub train: Option<usize>,
    /// Folder to write into; made if need be [default: data]
    #[arg(long, value_name = "DIR", aliases = ["out-dir", "out_dir", "output-dir", "output_dir"])]
    pub out: Option<PathBuf>,
    /// Print the first N rows; without --out, do nothing else
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub show: usize,
    /// Print the outcome as one JSON object
    #[arg(long)]
    pub json: bool,
}

impl Args {
    /// The defaults, for a source.
    pub fn new(source: impl Into<String>) -> Self {
        Self {
            source: source.into(),
            seed: 42,
            test: None,
            train: None,
            out: None,
            show: 0,
            json: false,
        }
    }
}

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
    let origin = origin::locate(&args.source)?;
    let source = read_source(&origin.path).map_err(data_error)?;
    let all = source.rows().map_err(data_error)?;
    let mut summary = Summary {
        shown: all.rows.iter().take(args.show).cloned().collect(),
        ..Summary::new(&origin, &source, &all)
    };
    let Some(out) = out_folder(args) else {
        return Ok(summary);
    };
    let (spec, note) = sizes::choose(args, source.len())?;
    let split = source.split(&spec).map_err(data_error)?;
    let leaks = overlaps(&split.train.rows, &split.test.rows);
    let mut done = SplitSummary::new(&spec, &split, leaks);
    write_all(&out, &origin, &split, &mut done, &summary)?;
    summary.notes.extend(note);
    summary.split = Some(done);
    Ok(summary)
}

/// The folder to write into; none when rows are only to be shown.
fn out_folder(args: &Args) -> Option<PathBuf> {
    match &args.out {
        Some(out) => Some(out.clone()),
        None if args.show > 0 => None,
        None => Some(PathBuf::from(DEFAULT_OUT)),
    }
}

fn write_all(
    out: &Path,
    origin: &Origin,
    split: &Split,
    done: &mut SplitSummary,
    summary: &Summary,
) -> Result<(), StageError> {
    type Write = fn(&Path, &[Row]) -> Result<(), DataError>;
    let files: [(&str, Write, &[Row]); 4] = [
        ("train.csv", write_csv, &split.train.rows),
        ("train.jsonl", write_jsonl, &split.train.rows),
        ("test.csv", write_csv, &split.test.rows),
        ("test.jsonl", write_jsonl, &split.test.rows),
    ];
    let mut manifest = done.manifest(origin, summary);
    manifest.add_input(&origin.path)?;
    stage::create_folder(out)?;
    for (name, _, _) in &files {
        spare_source(&origin.path, &out.join(name))?;
    }
    for (name, write, rows) in files {
        let path = out.join(name);
        write(&path, rows).map_err(data_error)?;
        manifest.add_output(&path)?;
        done.files.push(path.display().to_string());
    }
    let path = out.join("manifest.json");
    manifest.write(&path)?;
    done.files.push(path.display().to_string());
    Ok(())
}

/// Refuses to write over the file that was read.
fn spare_source(source: &Path, output: &Path) -> Result<(), StageError> {
    let same = match (source.canonicalize(), output.canonicalize()) {
        (Ok(source), Ok(output)) => source == output,
        _ => false,
    };
    if same {
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
        DataError::SplitTooLarge { .. } => StageError::usage(error),
        DataError::Write { .. } | DataError::Hub { .. } => StageError::failed(error),
        _ => StageError::bad_data(error),
    }
}

impl SplitSummary {
    fn manifest(&self, origin: &Origin, summary: &Summary) -> Manifest {
        let mut manifest = Manifest::new("prepare")
            .argument("test", self.test.asked)
            .argument("train", self.train.asked)
            .seed("split", self.seed)
            .fact("rows_read", summary.rows_read)
            .fact("format", summary.format.clone());
        if let Some(hub) = &origin.hub {
            let named = format!("{}@{}:{}", hub.id, hub.commit, hub.file);
            manifest = manifest.argument("source", named);
        }
        for (name, value) in [
            ("test", serde_json::to_value(&self.test)),
            ("train", serde_json::to_value(&self.train)),
            ("overlaps", serde_json::to_value(&self.overlaps)),
        ] {
            // Plain structs of numbers and texts: they always have a JSON form.
            manifest = manifest.fact(name, value.unwrap_or_default());
        }
        manifest
    }
}
