//! What the manifests and logs beside the predictions say about their making.

use std::path::{Path, PathBuf};

use report::{Provenance, TrainPoint};
use serde::Deserialize;
use stage::{FileRecord, Manifest, StageError};

/// Names, training log and facts for a comparison.
pub(crate) struct Origin {
    pub(crate) before: String,
    pub(crate) after: String,
    /// The folder of the second system's adapter, where it is known and there.
    pub(crate) adapter: Option<PathBuf>,
    pub(crate) training: Vec<TrainPoint>,
    pub(crate) blocks: Vec<Provenance>,
}

/// Reads what there is. A missing or foreign manifest is no error: predictions of other programs
/// have none. A training log that was asked for by name must be readable.
pub(crate) fn collect(
    before: &Path,
    after: &Path,
    log: Option<&Path>,
) -> Result<Origin, StageError> {
    let manifests = [generation_manifest(before), generation_manifest(after)];
    let adapter = manifests[1]
        .as_ref()
        .and_then(adapter_folder)
        .or_else(|| run_adapter(after));
    let found = adapter
        .as_ref()
        .map(|folder| folder.join("train_log.jsonl"));
    let training = match (log, found) {
        (Some(asked), _) => training_log(asked)?,
        (None, Some(found)) if found.is_file() => training_log(&found).unwrap_or_default(),
        _ => vec![],
    };
    let mut blocks = Vec::new();
    for (title, path, manifest) in [
        ("Before", before, &manifests[0]),
        ("After", after, &manifests[1]),
    ] {
        blocks.push(Provenance {
            title: title.into(),
            facts: facts(Some(path), manifest.as_ref())?,
        });
    }
    let trained = adapter
        .as_ref()
        .and_then(|folder| Manifest::read(&folder.join("manifest.json")).ok());
    if let Some(manifest) = trained.filter(|m| m.stage == "train") {
        blocks.push(Provenance {
            title: "Training".into(),
            facts: facts(None, Some(&manifest))?,
        });
    }
    Ok(Origin {
        before: name(before, manifests[0].as_ref()),
        after: name(after, manifests[1].as_ref()),
        adapter,
        training,
        blocks,
    })
}

/// The manifest of the stage that wrote this file of predictions.
fn generation_manifest(predictions: &Path) -> Option<Manifest> {
    let mut appended = predictions.as_os_str().to_owned();
    appended.push(".manifest.json");
    let candidates = [
        PathBuf::from(appended),
        predictions.with_extension("manifest.json"),
        predictions.with_file_name("manifest.json"),
    ];
    let mut read = candidates
        .iter()
        .filter_map(|path| Manifest::read(path).ok());
    read.find(|manifest| manifest.stage == "generate")
}

fn adapter_folder(manifest: &Manifest) -> Option<PathBuf> {
    manifest
        .adapter
        .as_ref()
        .map(PathBuf::from)
        .filter(|folder| folder.is_dir())
}

/// The adapter of a run folder, whose tuned answers stand in `tuned/` beside `adapter/`.
fn run_adapter(predictions: &Path) -> Option<PathBuf> {
    let tuned = predictions
        .parent()
        .filter(|folder| folder.ends_with("tuned"))?;
    Some(tuned.with_file_name("adapter")).filter(|folder| folder.is_dir())
}

fn name(path: &Path, manifest: Option<&Manifest>) -> String {
    let file = || path.display().to_string();
    let Some(manifest) = manifest else {
        return file();
    };
    match (&manifest.model, &manifest.adapter) {
        (Some(model), Some(adapter)) => format!("{} with the adapter {adapter}", model_name(model)),
        (Some(model), None) => model_name(model).to_owned(),
        _ => file(),
    }
}

/// A GGUF file without its folders, which say nothing of the model; the whole path stands among the facts.
fn model_name(model: &str) -> &str {
    let file = Path::new(model).file_name().and_then(|name| name.to_str());
    file.filter(|name| name.to_ascii_lowercase().ends_with(".gguf"))
        .unwrap_or(model)
}

fn facts(
    file: Option<&Path>,
    manifest: Option<&Manifest>,
) -> Result<Vec<(String, String)>, StageError> {
    let mut facts = Vec::new();
    let mut add = |name: &str, value: String| facts.push((name.to_owned(), value));
    if let Some(path) = file {
        let record = FileRecord::of(path)?;
        add("file", record.path);
        add("sha256", record.sha256);
    }
    if let Some(manifest) = manifest {
        let named = [
            ("model", &manifest.model),
            ("adapter", &manifest.adapter),
            ("template", &manifest.template),
        ];
        for (name, value) in named {
            if let Some(value) = value {
                add(name, value.clone());
            }
        }
        for (name, seed) in &manifest.seeds {
            add(name, seed.to_string());
        }
        for (name, value) in manifest.arguments.iter().chain(&manifest.facts) {
            add(
                name,
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned),
            );
        }
        for input in &manifest.inputs {
            add("input", format!("{} (sha256 {})", input.path, input.sha256));
        }
        add(
            "made by",
            format!("smoltune {} {}", manifest.smoltune, manifest.stage),
        );
    }
    Ok(facts)
}

/// A line of `train_log.jsonl`; other fields are not needed here.
#[derive(Deserialize)]
struct LogLine {
    step: u64,
    loss: Option<f64>,
    eval_loss: Option<f64>,
    lr: Option<f64>,
}

fn training_log(path: &Path) -> Result<Vec<TrainPoint>, StageError> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        StageError::bad_data(format!(
            "{}: training log cannot be read: {e}",
            path.display()
        ))
    })?;
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(i, line)| {
            let line: LogLine = serde_json::from_str(line).map_err(|e| {
                StageError::bad_data(format!(
                    "{}, line {}: no line of a training log (JSON with `step`): {e}",
                    path.display(),
                    i + 1
                ))
            })?;
            Ok(TrainPoint {
                step: line.step,
                loss: line.loss,
                eval_loss: line.eval_loss,
                lr: line.lr,
            })
        })
        .collect()
}
