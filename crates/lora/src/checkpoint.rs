//! Checkpoints: folders `checkpoint-N` that a run can go on from, and rotation among them.
//!
//! A checkpoint holds an adapter in PEFT's format (so it can be used as it is), what the optimiser
//! remembers in [`OPTIMIZER_FILE`], and [`STATE_FILE`]. It is written under another name and renamed,
//! so that a folder `checkpoint-N` is whole or absent; [`STATE_FILE`] has the SHA-256 of the other
//! files, so that a copy which lost something is noticed.

use crate::adapter::Adapter;
use crate::config::CONFIG_FILE;
use crate::error::CheckpointError;
use crate::files::{CONFIG_BYTES, WEIGHTS_FILE, read_whole, write_whole};
use crate::optim::{Buffer, Moments};
use crate::record::{Record, Settings, sha256};
use crate::state::{Progress, Snapshot};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use smollm_model::check_safetensors;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The name of the optimiser's file in a checkpoint.
pub const OPTIMIZER_FILE: &str = "optimizer.safetensors";
/// The name of the state's file in a checkpoint.
pub const STATE_FILE: &str = "trainer_state.json";

const PREFIX: &str = "checkpoint-";

/// A checkpoint that was read, whole and undamaged.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Its folder.
    pub path: PathBuf,
    /// The variables' values.
    pub adapter: Adapter,
    /// What the run had behind it.
    pub progress: Progress,
    /// What the optimiser remembers, by variable; with an average, their own values, too.
    pub moments: BTreeMap<String, Moments>,
    /// What the run was made with.
    pub settings: Settings,
    /// Version of this crate that wrote it.
    pub version: String,
}

impl Checkpoint {
    /// Reads a checkpoint.
    ///
    /// # Errors
    /// A file that is missing, damaged or not what was saved.
    pub fn load(dir: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let dir = dir.as_ref();
        let path = dir.join(STATE_FILE);
        let record = Record::parse(&path, &read_whole(&path, CONFIG_BYTES)?)?;
        for name in [CONFIG_FILE, WEIGHTS_FILE, OPTIMIZER_FILE] {
            let path = dir.join(name);
            if record.files.get(name) != Some(&sha256(&read_whole(&path, u64::MAX)?)) {
                return Err(CheckpointError::Changed { path });
            }
        }
        Ok(Self {
            adapter: Adapter::load(dir)?,
            moments: read_moments(&dir.join(OPTIMIZER_FILE))?,
            path: dir.into(),
            progress: record.progress,
            settings: record.settings,
            version: record.version,
        })
    }

    /// Whether a run with these settings would go on as the one that was saved.
    ///
    /// # Errors
    /// The settings that differ, by name, with what they were and are.
    pub fn check(&self, settings: &Settings) -> Result<(), CheckpointError> {
        let names: BTreeSet<&String> = self.settings.keys().chain(settings.keys()).collect();
        let shown = |value: Option<&serde_json::Value>| {
            value.map_or_else(|| "not set".to_owned(), ToString::to_string)
        };
        let (mut fields, mut changes) = (Vec::new(), Vec::new());
        for name in names {
            let (saved, given) = (self.settings.get(name), settings.get(name));
            if saved != given {
                let (saved, given) = (shown(saved), shown(given));
                changes.push(format!("`{name}` was {saved} and is {given} now"));
                fields.push(name.clone());
            }
        }
        if fields.is_empty() {
            return Ok(());
        }
        Err(CheckpointError::Settings {
            path: self.path.clone(),
            fields,
            changes: changes.join(", "),
        })
    }
}

/// The folder in which a run keeps its checkpoints.
#[derive(Clone, Debug)]
pub struct CheckpointFolder {
    root: PathBuf,
}

impl CheckpointFolder {
    /// The checkpoints in `root`, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where the checkpoint after `step` steps lies, or would lie.
    pub fn path(&self, step: usize) -> PathBuf {
        self.root.join(format!("{PREFIX}{step}"))
    }

    /// The steps after which there are checkpoints, ascending. Whether they are whole shows when
    /// they are read.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn steps(&self) -> Result<Vec<usize>, CheckpointError> {
        let mut steps: Vec<usize> = self
            .entries()?
            .iter()
            .filter_map(|name| name.strip_prefix(PREFIX)?.parse().ok())
            .collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// The newest checkpoint that is whole, and why newer ones were passed over.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn newest(&self) -> Result<(Option<Checkpoint>, Vec<CheckpointError>), CheckpointError> {
        let mut passed = Vec::new();
        for step in self.steps()?.into_iter().rev() {
            match Checkpoint::load(self.path(step)) {
                Ok(checkpoint) => return Ok((Some(checkpoint), passed)),
                Err(error) => passed.push(error),
            }
        }
        Ok((None, passed))
    }

    /// Writes a checkpoint; one after the same step is replaced. The same snapshot and settings
    /// always give the same bytes.
    ///
    /// # Errors
    /// The folder cannot be made or written to.
    pub fn save(
        &self,
        snapshot: &Snapshot,
        settings: &Settings,
    ) -> Result<PathBuf, CheckpointError> {
        let step = snapshot.state.progress().steps;
        let (place, partial) = (self.path(step), self.hidden(step, "partial"));
        self.sweep()?;
        snapshot.adapter.save(&partial)?;
        let path = partial.join(OPTIMIZER_FILE);
        write_whole(&path, &moments_bytes(&path, snapshot.moments())?)?;
        let mut files = BTreeMap::new();
        for name in [CONFIG_FILE, WEIGHTS_FILE, OPTIMIZER_FILE] {
            let bytes = read_whole(&partial.join(name), u64::MAX)?;
            files.insert(name.to_owned(), sha256(&bytes));
        }
        let record = Record::new(snapshot.state.progress(), settings, files);
        let path = partial.join(STATE_FILE);
        write_whole(&path, &record.bytes(&path)?)?;
        self.remove(step)?;
        rename(&partial, &place)?;
        Ok(place)
    }

    /// Removes the oldest checkpoints until `limit` are left. The newest stays, and so does the one
    /// after step `best` (transformers' `save_total_limit`).
    ///
    /// # Errors
    /// A folder cannot be removed.
    pub fn rotate(&self, limit: usize, best: Option<usize>) -> Result<(), CheckpointError> {
        let steps = self.steps()?;
        let Some((_, older)) = steps.split_last() else {
            return Ok(());
        };
        let mut spare = steps.len().saturating_sub(limit.max(1));
        for step in older.iter().filter(|step| Some(**step) != best) {
            if spare == 0 {
                break;
            }
            self.remove(*step)?;
            spare -= 1;
        }
        Ok(())
    }

    /// Removes every checkpoint after more than `step` steps: 0 removes all.
    ///
    /// # Errors
    /// A folder cannot be removed.
    pub fn remove_after(&self, step: usize) -> Result<(), CheckpointError> {
        for later in self.steps()?.into_iter().filter(|other| *other > step) {
            self.remove(later)?;
        }
        self.sweep()
    }

    /// Removes one, if it is there: first its name, so that no half of it can be taken for whole.
    fn remove(&self, step: usize) -> Result<(), CheckpointError> {
        let place = self.path(step);
        if !place.exists() {
            return Ok(());
        }
        let old = self.hidden(step, "old");
        rename(&place, &old)?;
        remove_folder(&old)
    }

    /// Removes what a process that was killed left behind.
    fn sweep(&self) -> Result<(), CheckpointError> {
        for name in self.entries()? {
            let ours = name.strip_prefix('.').filter(|n| n.starts_with(PREFIX));
            let suffix = ours.and_then(|name| name.rsplit_once('.'));
            if matches!(suffix, Some((_, "partial" | "old"))) {
                remove_folder(&self.root.join(name))?;
            }
        }
        Ok(())
    }

    fn hidden(&self, step: usize, suffix: &str) -> PathBuf {
        self.root.join(format!(".{PREFIX}{step}.{suffix}"))
    }

    fn entries(&self) -> Result<Vec<String>, CheckpointError> {
        if !self.root.exists() {
            return Ok(Vec::new());
        }
        let io = |source| CheckpointError::Io {
            path: self.root.clone(),
            source,
        };
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(io)? {
            names.extend(entry.map_err(io)?.file_name().into_string());
        }
        Ok(names)
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), CheckpointError> {
    let io = |source| CheckpointError::Io {
        path: to.into(),
        source,
    };
    fs::rename(from, to).map_err(io)?;
    // The new name must last as the files do: the folder is written out, where that is possible.
    if let Some(folder) = to.parent().and_then(|parent| fs::File::open(parent).ok()) {
        let _ = folder.sync_all();
    }
    Ok(())
}

fn remove_folder(path: &Path) -> Result<(), CheckpointError> {
    fs::remove_dir_all(path).map_err(|source| CheckpointError::Io {
        path: path.into(),
        source,
    })
}

/// `NAME.BUFFER` for every buffer of every variable, F32.
fn moments_bytes(
    path: &Path,
    moments: &BTreeMap<String, Moments>,
) -> Result<Vec<u8>, CheckpointError> {
    let wrap = |source| CheckpointError::SafeTensors {
        path: path.into(),
        source,
    };
    let little =
        |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|x| x.to_le_bytes()).collect() };
    let mut buffers = Vec::new();
    for (name, of) in moments {
        for buffer in of {
            let full = format!("{name}.{}", buffer.name);
            buffers.push((full, &buffer.shape, little(&buffer.values)));
        }
    }
    let views = buffers
        .iter()
        .map(|(name, shape, bytes)| {
            let view = TensorView::new(Dtype::F32, (*shape).clone(), bytes)?;
            Ok((name, view))
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(wrap)?;
    serialize(views, None).map_err(wrap)
}

/// Whether the buffers are those of the run's optimiser is seen where one is made of them.
fn read_moments(path: &Path) -> Result<BTreeMap<String, Moments>, CheckpointError> {
    let bytes = read_whole(path, u64::MAX)?;
    let damaged = |reason: String| CheckpointError::Damaged {
        path: path.into(),
        reason,
    };
    check_safetensors(&bytes).map_err(damaged)?;
    let file = SafeTensors::deserialize(&bytes).map_err(|source| CheckpointError::SafeTensors {
        path: path.into(),
        source,
    })?;
    let mut moments: BTreeMap<String, Moments> = BTreeMap::new();
    for (full, view) in file.iter() {
        let split = full.rsplit_once('.');
        let (name, buffer) = split.ok_or_else(|| damaged(format!("`{full}` is no moment")))?;
        if view.dtype() != Dtype::F32 {
            return Err(damaged(format!("`{full}` is {:?}, not F32", view.dtype())));
        }
        let (values, _) = view.data().as_chunks::<4>();
        moments.entry(name.to_owned()).or_default().push(Buffer {
            name: buffer.to_owned(),
            shape: view.shape().to_vec(),
            values: values.iter().map(|x| f32::from_le_bytes(*x)).collect(),
        });
    }
    for of in moments.values_mut() {
        of.sort_by(|a, b| a.name.cmp(&b.name));
    }
    Ok(moments)
}
