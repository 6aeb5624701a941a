//! `trainer_state.json`, and the settings by which a run is known again.

use crate::error::CheckpointError;
use crate::sample::Sample;
use crate::state::Progress;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// What decides a run's result, by the names that its user knows: two runs with equal settings go
/// through the same numbers. What it holds is the caller's to choose; a checkpoint keeps it.
pub type Settings = BTreeMap<String, Value>;

/// This crate's version, which checkpoints name.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the fields mean. 2: the best evaluation says by which measure, and steps may have been passed over.
const FORMAT: u32 = 2;

/// The contents of the file. Names that transformers' `TrainerState` has mean what they mean there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    format: u32,
    /// Version of this crate.
    pub(crate) version: String,
    global_step: usize,
    best_metric: Option<f64>,
    metric_for_best_model: Option<String>,
    best_global_step: Option<usize>,
    pub(crate) progress: Progress,
    /// SHA-256 of the settings, as JSON sorted by name.
    config_hash: String,
    pub(crate) settings: Settings,
    /// SHA-256 of the checkpoint's other files.
    pub(crate) files: BTreeMap<String, String>,
}

impl Record {
    pub(crate) fn new(
        progress: &Progress,
        settings: &Settings,
        files: BTreeMap<String, String>,
    ) -> Self {
        let best = progress.best.as_ref();
        Self {
            format: FORMAT,
            version: VERSION.into(),
            global_step: progress.steps,
            best_metric: best.map(|best| best.value),
            metric_for_best_model: best.map(|best| best.metric.clone()),
            best_global_step: best.map(|best| best.step),
            progress: progress.clone(),
            config_hash: hash(settings),
            settings: settings.clone(),
            files,
        }
    }

    pub(crate) fn bytes(&self, path: &Path) -> Result<Vec<u8>, CheckpointError> {
        let json = serde_json::to_vec_pretty(self);
        let mut bytes = json.map_err(|source| CheckpointError::Json {
            path: path.into(),
            source,
        })?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, CheckpointError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let json = |source| CheckpointError::Json {
            path: path.into(),
            source,
        };
        let Format { format } = serde_json::from_slice(bytes).map_err(json)?;
        if format != FORMAT {
            return Err(CheckpointError::Format {
                path: path.into(),
                found: format,
                expected: FORMAT,
            });
        }
        let record: Self = serde_json::from_slice(bytes).map_err(json)?;
        if record.config_hash != hash(&record.settings) {
            return Err(CheckpointError::Changed { path: path.into() });
        }
        Ok(record)
    }
}

fn hash(settings: &Settings) -> String {
    let text = settings
        .iter()
        .fold(String::new(), |mut text, (name, value)| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name}={value}");
            text
        });
    sha256(text.as_bytes())
}

/// As 64 lower-case hex digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// SHA-256 of rows as the model sees them: token ids and labels. It covers the data, the template,
/// the system prompt, and how long rows were cut.
pub fn fingerprint(rows: &[Sample]) -> String {
    let mut hasher = Sha256::new();
    for row in rows {
        hasher.update((row.ids.len() as u64).to_le_bytes());
        row.ids
            .iter()
            .for_each(|id| hasher.update(id.to_le_bytes()));
        hasher.update((row.labels.len() as u64).to_le_bytes());
        row.labels
            .iter()
            .for_each(|&label| hasher.update((label as u64).to_le_bytes()));
    }
    hex(&hasher.finalize())
}
