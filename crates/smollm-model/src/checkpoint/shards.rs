//! Weights in one safetensors file, or in several with an index.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::safetensors::MmapedSafetensors;
use candle_core::{Device, Tensor};
use cpu_gemm::Format;
use safetensors::Dtype;
use serde::Deserialize;

use super::safetensors_header::check_file;
use crate::ModelError;
use crate::text_file::{INDEX_BYTES, read_text};

/// File name of weights in one file.
pub(crate) const SINGLE: &str = "model.safetensors";
/// File name of the index of weights in several.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// Open safetensors files and which tensor lies in which of them.
pub(super) struct Shards {
    dir: PathBuf,
    files: Vec<(PathBuf, MmapedSafetensors)>,
    /// Tensor name to position in `files`.
    place: BTreeMap<String, usize>,
}

impl std::fmt::Debug for Shards {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let files: Vec<_> = self.files.iter().map(|(path, _)| path).collect();
        f.debug_struct("Shards")
            .field("files", &files)
            .finish_non_exhaustive()
    }
}

impl Shards {
    /// Opens what `dir` has: `model.safetensors` if there, else the shards its index names.
    pub(super) fn open(dir: &Path) -> Result<Self, ModelError> {
        let names = weight_files(dir)?;
        let mut files = Vec::with_capacity(names.len());
        let mut place = BTreeMap::new();
        for name in names {
            let path = dir.join(name);
            let file = map(&path)?;
            for (tensor, _) in file.tensors() {
                if let Some(earlier) = place.insert(tensor.clone(), files.len()) {
                    return Err(twice(&tensor, path, files.get(earlier)));
                }
            }
            files.push((path, file));
        }
        Ok(Self {
            dir: dir.to_path_buf(),
            files,
            place,
        })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.place.keys().cloned().collect()
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.place.contains_key(name)
    }

    fn find(&self, name: &str) -> Result<&(PathBuf, MmapedSafetensors), ModelError> {
        let missing = || ModelError::MissingTensor {
            // With one file, that file is what the reader should look at.
            path: match self.files.as_slice() {
                [(path, _)] => path.clone(),
                _ => self.dir.clone(),
            },
            tensor: name.to_owned(),
        };
        self.place
            .get(name)
            .and_then(|at| self.files.get(*at))
            .ok_or_else(missing)
    }

    pub(super) fn check(&self, name: &str, shape: &[usize]) -> Result<(), ModelError> {
        let (path, file) = self.find(name)?;
        let view = file.get(name)?;
        if !matches!(view.dtype(), Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            return Err(ModelError::TensorType {
                path: path.clone(),
                tensor: name.to_owned(),
                found: view.dtype().to_string(),
                expected: "F32, F16, BF16".to_owned(),
            });
        }
        if view.shape() != shape {
            return Err(ModelError::TensorShape {
                path: path.clone(),
                tensor: name.to_owned(),
                found: view.shape().to_vec(),
                expected: shape.to_vec(),
            });
        }
        Ok(())
    }

    /// What a tensor is packed as where nothing else is asked for: bf16 stays, f16 becomes f32.
    pub(super) fn packed_format(&self, name: &str) -> Format {
        let found = self
            .find(name)
            .and_then(|(_, file)| Ok(file.get(name)?.dtype()));
        match found {
            Ok(Dtype::BF16) => Format::Bf16,
            _ => Format::F32,
        }
    }

    pub(super) fn load(&self, name: &str) -> Result<Tensor, ModelError> {
        let (_, file) = self.find(name)?;
        Ok(file.load(name, &Device::Cpu)?)
    }
}

fn twice(
    tensor: &str,
    path: PathBuf,
    earlier: Option<&(PathBuf, MmapedSafetensors)>,
) -> ModelError {
    let earlier = earlier.map_or_else(String::new, |(path, _)| path.display().to_string());
    ModelError::Damaged {
        path,
        reason: format!("tensor `{tensor}` is also in {earlier}"),
    }
}

/// `model.safetensors.index.json`.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Names of the safetensors files in `dir`, as transformers chooses them.
fn weight_files(dir: &Path) -> Result<Vec<String>, ModelError> {
    if dir.join(SINGLE).exists() {
        return Ok(vec![SINGLE.to_owned()]);
    }
    let path = dir.join(INDEX);
    if path.exists() {
        return index_files(&path);
    }
    Err(ModelError::Incomplete {
        path: dir.to_path_buf(),
        reason: format!("neither {SINGLE} nor {INDEX} is in this folder"),
        remedy: "give a folder with safetensors weights (pytorch_model.bin is not read)",
    })
}

/// The files that an index names, sorted, each once.
///
/// # Errors
/// If the index cannot be read or names something that is not a plain file name: an index from
/// the network must not make us open files outside the model's folder.
pub(crate) fn index_files(path: &Path) -> Result<Vec<String>, ModelError> {
    let text = read_text(path, INDEX_BYTES)?;
    let malformed = |reason: String| ModelError::Incomplete {
        path: path.to_path_buf(),
        reason,
        remedy: "get the model again",
    };
    let index: Index = serde_json::from_str(&text)
        .map_err(|e| malformed(format!("not an index of safetensors files: {e}")))?;
    let files: BTreeSet<String> = index.weight_map.into_values().collect();
    if let Some(bad) = files
        .iter()
        .find(|name| Path::new(name).file_name() != Some(name.as_ref()))
    {
        return Err(malformed(format!("`{bad}` is not a plain file name")));
    }
    if files.is_empty() {
        return Err(malformed("it names no files".to_owned()));
    }
    Ok(files.into_iter().collect())
}

#[allow(unsafe_code, reason = "mapping is the one thing here that needs it")]
fn map(path: &Path) -> Result<MmapedSafetensors, ModelError> {
    check_file(path)?;
    // SAFETY: the map is private to `Shards` and only read. What remains is that another process
    // changes or shortens the file meanwhile, which no reader can rule out; model files are
    // written once.
    unsafe { MmapedSafetensors::new(path) }.map_err(|e| ModelError::Damaged {
        path: path.to_path_buf(),
        reason: reason(e),
    })
}

/// The innermost cause: candle wraps it with path and backtrace, which the message has already.
fn reason(error: candle_core::Error) -> String {
    match error {
        candle_core::Error::WithBacktrace { inner, .. }
        | candle_core::Error::WithPath { inner, .. } => reason(*inner),
        other => other.to_string(),
    }
}
