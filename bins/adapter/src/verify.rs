//! Whether an adapter can be trusted.

use std::path::{Path, PathBuf};

use loader::ModelSpec;
use lora::Adapter;
use serde::Serialize;
use smollm_model::{Llama, Mode, Ragged};
use stage::{Manifest, OrExit, StageError};

/// Flags of `verify`.
#[derive(Debug, Clone, clap::Args)]
pub struct VerifyArgs {
    /// The adapter's folder
    #[arg(value_name = "DIR")]
    pub adapter: PathBuf,
    /// The base model, in place of the one that the adapter names
    #[arg(long, value_name = "MODEL", alias = "base_model")]
    pub base_model: Option<String>,
    /// The prompt whose logits are compared
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "Why does the river bend at the old mill?"
    )]
    pub prompt: String,
    /// Largest difference of a logit between the adapter merged into the weights and beside them
    #[arg(long, value_name = "X", default_value_t = 1e-3)]
    pub tolerance: f32,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verified {
    /// The folder.
    pub adapter: String,
    /// The base model, which has a place for each of its modules.
    pub base: String,
    /// How many those are.
    pub modules: usize,
    /// Whether all checks hold.
    pub ok: bool,
    /// Each check.
    pub checks: Vec<Check>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// What was checked.
    pub name: &'static str,
    /// Whether it holds.
    pub ok: bool,
    /// What was seen.
    pub seen: String,
}

/// Checks an adapter against itself, its manifest, and its base.
///
/// # Errors
/// Exit code 3 where the adapter or the base cannot be read, or do not fit; a check that does not
/// hold is no error here.
pub fn verify(args: &VerifyArgs) -> Result<Verified, StageError> {
    let dir = &args.adapter;
    let adapter = crate::load(dir)?;
    let mut checks = vec![finite(&adapter)?];
    checks.extend(unchanged(dir));
    let spec = ModelSpec {
        base_model: args.base_model.clone(),
        ..ModelSpec::new(&dir.display().to_string())
    };
    // Names, shapes and layers: what does not fit is an error there.
    let opened = loader::open(&spec)?;
    if checks.iter().all(|check| check.ok) {
        let prompt = opened
            .prompter()
            .generation_prompt(&args.prompt, None, None)
            .or_bad_data()?;
        let base = opened.description().to_owned();
        let loaded = opened.load(loader::DType::F32)?;
        checks.push(merges(loaded.model, &adapter, prompt.ids, args.tolerance)?);
        return Ok(Verified::new(dir, base, &adapter, checks));
    }
    let base = opened.description().to_owned();
    Ok(Verified::new(dir, base, &adapter, checks))
}

/// Every number is one.
fn finite(adapter: &Adapter) -> Result<Check, StageError> {
    let mut bad = None;
    for (name, tensor) in adapter.tensors() {
        let values = tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>());
        if let Some(at) = values.or_failed()?.iter().position(|v| !v.is_finite()) {
            bad = Some(format!("`{name}` has no number at {at}"));
            break;
        }
    }
    Ok(Check {
        name: "finite",
        ok: bad.is_none(),
        seen: bad.unwrap_or_else(|| format!("{} parameters", adapter.parameters())),
    })
}

/// The files are those that the manifest beside them, if any, tells of.
fn unchanged(dir: &Path) -> Option<Check> {
    let path = dir.join("manifest.json");
    let manifest = match Manifest::read(&path) {
        Ok(manifest) => manifest,
        Err(_) if !path.exists() => return None,
        Err(e) => {
            return Some(Check {
                name: "as written",
                ok: false,
                seen: e.to_string(),
            });
        }
    };
    let ours = |path: &str| [lora::CONFIG_FILE, lora::WEIGHTS_FILE].contains(&path);
    let mut records = manifest.outputs.iter().filter(|file| ours(&file.path));
    records.clone().next()?;
    let changed = records.find(|file| !file.matches(&dir.join(&file.path)));
    Some(Check {
        name: "as written",
        ok: changed.is_none(),
        seen: changed.map_or_else(
            || format!("SHA-256 as in the manifest of `{}`", manifest.stage),
            |file| format!("{} is not the file of the manifest", file.path),
        ),
    })
}

/// Merged into the weights, it gives the logits that it gives beside them.
fn merges(
    mut model: Llama,
    adapter: &Adapter,
    prompt: Vec<u32>,
    tolerance: f32,
) -> Result<Check, StageError> {
    let batch = Ragged::new(&[prompt]).or_failed()?;
    let beside = logits(&model, &batch)?;
    loader::detach(&mut model);
    let base = logits(&model, &batch)?;
    adapter.merge_into(&mut model).or_failed()?;
    let merged = logits(&model, &batch)?;
    let (apart, moved) = (largest(&beside, &merged), largest(&beside, &base));
    Ok(Check {
        name: "merges",
        ok: apart <= tolerance,
        seen: format!(
            "logits within {apart:.2e} (tolerance {tolerance:.0e}); the adapter moves them by up to \
             {moved:.2e}"
        ),
    })
}

/// Scores of the token after every token of a prompt.
fn logits(model: &Llama, batch: &Ragged) -> Result<Vec<f32>, StageError> {
    let hidden = model.hidden(batch, Mode::Eval).or_failed()?;
    let logits = model.logits(&hidden).or_failed()?;
    logits
        .flatten_all()
        .and_then(|flat| flat.to_vec1())
        .or_failed()
}

/// The largest difference; infinite where one is no number.
fn largest(a: &[f32], b: &[f32]) -> f32 {
    let apart = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    apart.fold(0.0, |most, d| {
        if d.is_nan() {
            f32::INFINITY
        } else {
            most.max(d)
        }
    })
}

impl Verified {
    fn new(dir: &Path, base: String, adapter: &Adapter, checks: Vec<Check>) -> Self {
        Self {
            adapter: dir.display().to_string(),
            base,
            modules: adapter.pairs().count(),
            ok: checks.iter().all(|check| check.ok),
            checks,
        }
    }

    pub(crate) fn text(&self) -> String {
        let (adapter, modules, base) = (&self.adapter, self.modules, &self.base);
        let head = format!("{adapter}: {modules} modules, each with its place in {base}");
        let checks = self.checks.iter().map(|Check { name, ok, seen }| {
            let mark = if *ok { "ok " } else { "BAD" };
            format!("{mark} {name}: {seen}")
        });
        std::iter::once(head)
            .chain(checks)
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Exit code 1 where a check does not hold.
    pub(crate) fn outcome(&self) -> Result<(), StageError> {
        match self.checks.iter().find(|check| !check.ok) {
            None => Ok(()),
            Some(Check { name, seen, .. }) => {
                let text = format!("{}: not {name}: {seen}", self.adapter);
                Err(StageError::failed(text))
            }
        }
    }
}
