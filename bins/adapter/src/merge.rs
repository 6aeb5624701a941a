//! One adapter from several.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use lora::{Adapter, Combination};
use serde::Serialize;
use stage::{Manifest, OrExit, StageError};

const MANIFEST_FILE: &str = "manifest.json";
const STAGE: &str = "adapter merge";

/// Flags of `merge`.
#[derive(Debug, Clone, clap::Args)]
pub struct MergeArgs {
    /// The adapters' folders
    #[arg(value_name = "DIR", required = true, num_args = 2..)]
    pub adapters: Vec<PathBuf>,
    /// A weight for each, separated by commas [default: the same for each, 1 in all]
    #[arg(
        long,
        value_name = "W,…",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    pub weights: Vec<f64>,
    /// How they are combined; PEFT's names
    #[arg(long, value_enum, default_value_t, alias = "combination_type")]
    pub combination_type: CombinationType,
    /// Rank that `svd` keeps [default: the largest of the adapters]
    #[arg(long, value_name = "R", alias = "svd_rank", value_parser = clap::value_parser!(u16).range(1..))]
    pub svd_rank: Option<u16>,
    /// The base model to write into the configuration, where the adapters name different ones
    #[arg(long, value_name = "MODEL", alias = "base_model")]
    pub base_model: Option<String>,
    /// Folder to write into; made if need be
    #[arg(long, value_name = "DIR", default_value = "combined", aliases = ["output_dir", "out"])]
    pub output_dir: PathBuf,
    /// Replace what an earlier merge left in the folder
    #[arg(long)]
    pub overwrite: bool,
    /// Print the outcome as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// How adapters are combined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum CombinationType {
    /// Exactly the weighted sum of the updates; the ranks add up
    #[default]
    Cat,
    /// Factors added, each with the root of its weight: keeps the rank, is not the sum of the updates
    Linear,
    /// The weighted sum, cut to a rank by singular values
    Svd,
}

impl CombinationType {
    fn name(self) -> &'static str {
        match self {
            Self::Cat => "cat",
            Self::Linear => "linear",
            Self::Svd => "svd",
        }
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Merge {
    /// The folder.
    pub output_dir: String,
    /// The adapters.
    pub adapters: Vec<String>,
    /// Their weights.
    pub weights: Vec<f64>,
    /// How they were combined.
    pub combination_type: &'static str,
    /// The rank of what came out.
    pub r: usize,
    /// Numbers in it.
    pub parameters: usize,
}

/// Combines adapters and writes the result as PEFT does.
///
/// # Errors
/// Exit code 2 for weights that do not match the adapters, bases that differ, or a folder that is
/// not empty; 3 for adapters that cannot be read or combined; 1 when writing fails.
pub fn combine(args: &MergeArgs) -> Result<Merge, StageError> {
    let weights = weights(args)?;
    let loaded = args.adapters.iter().map(|dir| crate::load(dir));
    let loaded = loaded.collect::<Result<Vec<Adapter>, _>>()?;
    let parts: Vec<_> = loaded.iter().zip(weights.iter().copied()).collect();
    let mut combined = Adapter::combine(&parts, combination(args)?).or_bad_data()?;
    let base = base(args, &loaded)?;
    let revision = loaded[0].config().revision.clone();
    combined.set_base_model(base, revision.filter(|_| args.base_model.is_none()));

    let out = &args.output_dir;
    make_room(args)?;
    let mut manifest = Manifest::new(STAGE)
        .argument("combination_type", args.combination_type.name())
        .argument("svd_rank", args.svd_rank)
        .argument("weights", weights.clone());
    manifest
        .model
        .clone_from(&combined.config().base_model_name_or_path);
    for dir in &args.adapters {
        for name in [lora::CONFIG_FILE, lora::WEIGHTS_FILE] {
            manifest.add_input(&dir.join(name))?;
        }
    }
    // From here on the folder is known to be ours. Until the new one is whole it holds no adapter.
    manifest.write(&out.join(MANIFEST_FILE))?;
    remove(&out.join(lora::CONFIG_FILE))?;
    combined.save(out).or_failed()?;
    for name in [lora::CONFIG_FILE, lora::WEIGHTS_FILE] {
        manifest.add_output(&out.join(name))?;
    }
    manifest.write(&out.join(MANIFEST_FILE))?;
    let shown = args.adapters.iter().map(|dir| dir.display().to_string());
    Ok(Merge {
        output_dir: out.display().to_string(),
        adapters: shown.collect(),
        weights,
        combination_type: args.combination_type.name(),
        r: combined.config().r,
        parameters: combined.parameters(),
    })
}

fn weights(args: &MergeArgs) -> Result<Vec<f64>, StageError> {
    let n = args.adapters.len();
    if args.weights.is_empty() {
        return Ok(vec![1.0 / n as f64; n]);
    }
    if args.weights.len() != n {
        return Err(StageError::usage(format!(
            "{} weights for {n} adapters; give --weights one for each",
            args.weights.len()
        )));
    }
    if let Some(weight) = args.weights.iter().find(|weight| !weight.is_finite()) {
        let text = format!("a weight is {weight}, expected a number");
        return Err(StageError::usage(text));
    }
    Ok(args.weights.clone())
}

fn combination(args: &MergeArgs) -> Result<Combination, StageError> {
    if args.svd_rank.is_some() && args.combination_type != CombinationType::Svd {
        let text = "--svd-rank is for --combination-type svd";
        return Err(StageError::usage(text));
    }
    Ok(match args.combination_type {
        CombinationType::Cat => Combination::Cat,
        CombinationType::Linear => Combination::Linear,
        CombinationType::Svd => Combination::Svd {
            rank: args.svd_rank.map(usize::from),
        },
    })
}

/// The one base that all name, or the one that was given.
fn base(args: &MergeArgs, loaded: &[Adapter]) -> Result<Option<String>, StageError> {
    if let Some(base) = &args.base_model {
        return Ok(Some(base.clone()));
    }
    let named = |adapter: &Adapter| adapter.config().base_model_name_or_path.clone();
    let first = named(&loaded[0]);
    for (dir, adapter) in args.adapters.iter().zip(loaded) {
        if named(adapter) != first {
            let text = |name: Option<String>| name.unwrap_or_else(|| "none".to_owned());
            return Err(StageError::usage(format!(
                "{} names the base {}, {} names {}; say with --base-model which one both belong to",
                args.adapters[0].display(),
                text(first),
                dir.display(),
                text(named(adapter)),
            )));
        }
    }
    Ok(first)
}

/// Deletes a file that may be missing.
fn remove(path: &Path) -> Result<(), StageError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            let text = format!("cannot delete {}: {e}", path.display());
            Err(StageError::failed(text))
        }
        _ => Ok(()),
    }
}

/// Makes the folder. One that holds something is used only if an earlier merge left it and may be
/// replaced, and never if it is one of the adapters that are read.
fn make_room(args: &MergeArgs) -> Result<(), StageError> {
    let (out, overwrite) = (&args.output_dir, args.overwrite);
    stage::create_folder(out)?;
    let real = |path: &Path| path.canonicalize().ok();
    let here = real(out);
    // Links to files count as what they point at.
    let read = |dir: &PathBuf| {
        let files = [lora::CONFIG_FILE, lora::WEIGHTS_FILE];
        let files = files.map(|name| real(&dir.join(name))?.parent().map(Path::to_path_buf));
        files.into_iter().chain([real(dir)]).any(|at| at == here)
    };
    if here.is_some()
        && let Some(dir) = args.adapters.iter().find(|dir| read(dir))
    {
        return Err(StageError::usage(format!(
            "{} holds the adapter {} that is read; choose another --output-dir",
            out.display(),
            dir.display()
        )));
    }
    if std::fs::read_dir(out).or_failed()?.next().is_none() {
        return Ok(());
    }
    let ours = Manifest::read(&out.join(MANIFEST_FILE)).is_ok_and(|found| found.stage == STAGE);
    if ours && overwrite {
        return Ok(());
    }
    Err(StageError::usage(format!(
        "{} is not empty; choose another --output-dir{}",
        out.display(),
        if ours {
            ", or replace that merge with --overwrite"
        } else {
            ""
        }
    )))
}

impl Merge {
    pub(crate) fn text(&self) -> String {
        let parts = self.adapters.iter().zip(&self.weights);
        let parts: Vec<_> = parts
            .map(|(name, weight)| format!("{weight} {name}"))
            .collect();
        format!(
            "{}: {} ({}), rank {}, {} parameters",
            self.output_dir,
            parts.join(" + "),
            self.combination_type,
            self.r,
            self.parameters
        )
    }
}
