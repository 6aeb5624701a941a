//! What an artefact was made from.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{StageError, files, sha256_file};

/// One file as it was when the manifest was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// The path as it was given; outputs are relative to the manifest's own folder.
    pub path: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256, 64 lower-case hex digits.
    pub sha256: String,
}

impl FileRecord {
    /// Reads the file once and records it.
    ///
    /// # Errors
    /// [`crate::Exit::BadData`] when it cannot be read.
    pub fn of(path: &Path) -> Result<Self, StageError> {
        let sha256 = sha256_file(path).map_err(StageError::bad_data)?;
        let bytes = fs::metadata(path).map_err(StageError::bad_data)?.len();
        Ok(Self {
            path: path.display().to_string(),
            bytes,
            sha256,
        })
    }

    /// Whether the file at `path` still is what was recorded.
    pub fn matches(&self, path: &Path) -> bool {
        // The size is looked at first: it is free, and tells most changes.
        fs::metadata(path).is_ok_and(|meta| meta.len() == self.bytes)
            && sha256_file(path).is_ok_and(|sha| sha == self.sha256)
    }
}

/// The record that lies beside an artefact: what was asked, what was read, what was written.
///
/// It holds no time and no host name, so the same work gives the same bytes.
///
/// ```
/// use stage::Manifest;
/// let dir = tempfile::tempdir()?;
/// let out = dir.path().join("rows.jsonl");
/// std::fs::write(&out, "{}\n")?;
///
/// let path = dir.path().join("manifest.json");
/// let mut made = Manifest::new("prepare").argument("test", 15).seed("shuffle", 42);
/// made.add_output(&out)?;
/// made.write(&path)?;
///
/// let read = Manifest::read(&path)?;
/// assert!(read.same_work(&made) && read.outputs_intact(dir.path()));
/// std::fs::write(&out, "changed")?;
/// assert!(!read.outputs_intact(dir.path()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format of this record; 1 until a field changes its meaning.
    pub format: u32,
    /// Version of Smoltune that did the work.
    pub smoltune: String,
    /// The stage's name, such as `train`.
    pub stage: String,
    /// What was asked for, by flag name, defaults included.
    pub arguments: BTreeMap<String, Value>,
    /// Every seed that was used.
    pub seeds: BTreeMap<String, u64>,
    /// Files that were read.
    pub inputs: Vec<FileRecord>,
    /// The model: hub id with revision, or path.
    pub model: Option<String>,
    /// The adapter's path.
    pub adapter: Option<String>,
    /// SHA-256 of the chat template, or its name.
    pub template: Option<String>,
    /// Files that were written, relative to the manifest's folder where they lie under it.
    pub outputs: Vec<FileRecord>,
    /// Counts worth keeping, such as rows dropped and why.
    pub facts: BTreeMap<String, Value>,
}

impl Manifest {
    /// An empty record of work by `stage`.
    pub fn new(stage: &str) -> Self {
        Self {
            format: 1,
            smoltune: env!("CARGO_PKG_VERSION").to_owned(),
            stage: stage.to_owned(),
            arguments: BTreeMap::new(),
            seeds: BTreeMap::new(),
            inputs: Vec::new(),
            model: None,
            adapter: None,
            template: None,
            outputs: Vec::new(),
            facts: BTreeMap::new(),
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn argument(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.arguments.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a seed.
    #[must_use]
    pub fn seed(mut self, name: &str, seed: u64) -> Self {
        self.seeds.insert(name.to_owned(), seed);
        self
    }

    /// Adds a count or another fact that came out.
    #[must_use]
    pub fn fact(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.facts.insert(name.to_owned(), value.into());
        self
    }

    /// Records a file that was read.
    ///
    /// # Errors
    /// [`crate::Exit::BadData`] when it cannot be read.
    pub fn add_input(&mut self, path: &Path) -> Result<(), StageError> {
        self.inputs.push(FileRecord::of(path)?);
        Ok(())
    }

    /// Records a file that was written.
    ///
    /// # Errors
    /// When it cannot be read back.
    pub fn add_output(&mut self, path: &Path) -> Result<(), StageError> {
        self.outputs.push(FileRecord::of(path)?);
        Ok(())
    }

    /// Writes it atomically; outputs below the manifest's folder are named relative to it.
    ///
    /// # Errors
    /// [`crate::Exit::Failed`] when the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), StageError> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut record = self.clone();
        for output in &mut record.outputs {
            if let Some(inside) = relative(Path::new(&output.path), folder) {
                output.path = inside.display().to_string();
            }
        }
        files::write_json(path, &record)
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// [`crate::Exit::BadData`] when it is missing or is not a manifest.
    pub fn read(path: &Path) -> Result<Self, StageError> {
        let text = fs::read_to_string(path)
            .map_err(|e| StageError::bad_data(format!("{}: {e}", path.display())))?;
        serde_json::from_str(&text).map_err(|e| {
            StageError::bad_data(format!(
                "{} is no manifest of smoltune: {e}",
                path.display()
            ))
        })
    }

    /// Whether both ask for the same work on the same inputs (by content, wherever they lie).
    pub fn same_work(&self, other: &Self) -> bool {
        let contents = |m: &Self| -> Vec<(u64, String)> {
            m.inputs
                .iter()
                .map(|file| (file.bytes, file.sha256.clone()))
                .collect()
        };
        self.format == other.format
            && self.smoltune == other.smoltune
            && self.stage == other.stage
            && self.arguments == other.arguments
            && self.seeds == other.seeds
            && self.model == other.model
            && self.adapter == other.adapter
            && self.template == other.template
            && contents(self) == contents(other)
    }

    /// Whether every output still lies below `folder` (the manifest's own) as it was written.
    pub fn outputs_intact(&self, folder: &Path) -> bool {
        self.outputs
            .iter()
            .all(|file| file.matches(&folder.join(&file.path)))
    }
}

/// `path` seen from `folder`, when it lies below it. No file system access, no `..`.
fn relative(path: &Path, folder: &Path) -> Option<PathBuf> {
    let plain =
        |p: &Path| -> PathBuf { p.components().filter(|c| *c != Component::CurDir).collect() };
    plain(path)
        .strip_prefix(plain(folder))
        .ok()
        .map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_folder(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn a_moved_input_is_the_same_work_and_a_changed_one_is_not() {
        let (_a, first) = in_folder("a.csv", "rows");
        let (_b, moved) = in_folder("b.csv", "rows");
        let (_c, changed) = in_folder("a.csv", "other");
        let with = |path: &Path| {
            let mut manifest = Manifest::new("prepare");
            manifest.add_input(path).unwrap();
            manifest
        };
        assert!(with(&first).same_work(&with(&moved)));
        assert!(!with(&first).same_work(&with(&changed)));
    }

    #[test]
    fn another_argument_seed_or_model_is_other_work() {
        let base = Manifest::new("train").argument("lr", 1e-4).seed("seed", 1);
        assert!(!base.same_work(&base.clone().argument("lr", 2e-4)));
        assert!(!base.same_work(&base.clone().seed("seed", 2)));
        let other = Manifest {
            model: Some("m".into()),
            ..base.clone()
        };
        assert!(!base.same_work(&other));
        assert!(base.same_work(&base.clone().fact("rows", 3)));
    }

    #[test]
    fn outputs_are_relative_so_the_folder_can_move() {
        let (dir, out) = in_folder("out.jsonl", "x");
        let mut manifest = Manifest::new("generate");
        manifest.add_output(&out).unwrap();
        let path = dir.path().join("manifest.json");
        manifest.write(&path).unwrap();
        let read = Manifest::read(&path).unwrap();
        assert_eq!(read.outputs[0].path, "out.jsonl");
        assert!(read.outputs_intact(dir.path()));
        fs::remove_file(&out).unwrap();
        assert!(!read.outputs_intact(dir.path()));
    }

    #[test]
    fn something_else_is_no_manifest() {
        let (_dir, path) = in_folder("manifest.json", "{\"hello\": 1}");
        let message = Manifest::read(&path).unwrap_err().to_string();
        assert!(message.contains("no manifest"), "{message}");
    }
}
