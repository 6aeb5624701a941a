//! An adapter's folder: `adapter_config.json` and `adapter_model.safetensors`.

use crate::adapter::Adapter;
use crate::config::{CONFIG_FILE, LoraConfig};
use crate::error::LoraError;
use crate::names::{Factor, saved_base};
use atomic_write_file::AtomicWriteFile;
use candle_core::{DType, Device, Tensor};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use serde::Serialize;
use smollm_model::check_safetensors;
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The name of the weights file in an adapter's folder.
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";

/// Much more than a config needs. As a tree it takes up to fifty times its bytes.
pub(crate) const CONFIG_BYTES: u64 = 1 << 20;

impl LoraConfig {
    /// Reads an `adapter_config.json`.
    ///
    /// # Errors
    /// No such file, not JSON, or a setting that we do not support.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, LoraError> {
        let path = path.as_ref();
        let text = read_whole(path, CONFIG_BYTES)?;
        let fields: serde_json::Map<_, _> =
            serde_json::from_slice(&text).map_err(|source| LoraError::Json {
                path: path.into(),
                source,
            })?;
        Self::try_from(fields).map_err(|e| e.in_file(path))
    }
}

impl Adapter {
    /// Reads an adapter that PEFT or we wrote.
    ///
    /// Strict: exactly the tensors that the config promises, with its rank. F32, F16 and BF16 are
    /// read, and become f32. Whether it fits a model is [`Adapter::check`]'s question, and whether the base's own
    /// matrices, which PEFT saves beside adapters of them, are a base's is that of [`Adapter::check_base`].
    ///
    /// # Errors
    /// A missing or damaged file, an unsupported config, a missing, unexpected or mis-shaped tensor.
    pub fn load(dir: impl AsRef<Path>) -> Result<Self, LoraError> {
        let dir = dir.as_ref();
        let config = LoraConfig::read(dir.join(CONFIG_FILE))?;
        let path = dir.join(WEIGHTS_FILE);
        let bytes = read_whole(&path, u64::MAX)?;
        check_safetensors(&bytes).map_err(|reason| LoraError::Damaged {
            path: path.clone(),
            reason,
        })?;
        let file = SafeTensors::deserialize(&bytes).map_err(|source| LoraError::SafeTensors {
            path: path.clone(),
            source,
        })?;
        let mut tensors = Vec::with_capacity(file.len());
        let mut saved = BTreeMap::new();
        for (name, view) in sorted(&file) {
            if let Some(site) = saved_base(name) {
                let tensor = read_tensor(name, &view).map_err(|e| e.in_file(&path))?;
                saved.insert(site, tensor);
                continue;
            }
            let place = Factor::parse(name).ok_or_else(|| LoraError::UnexpectedTensor {
                name: name.into(),
                why: "not a tensor of LoRA or DoRA for one of the seven projections of a Llama layer, the embedding \
                      or the head"
                    .into(),
            });
            let tensor = place.and_then(|place| Ok((place, read_tensor(name, &view)?)));
            tensors.push(tensor.map_err(|e| e.in_file(&path))?);
        }
        let adapter =
            Self::from_tensors(config, tensors).and_then(|adapter| adapter.keeping(saved));
        adapter.map_err(|e| e.in_file(&path))
    }

    /// Writes the adapter as PEFT does, in F32; the same adapter always gives the same bytes.
    ///
    /// Each file appears whole or not at all; the config, which makes a folder an adapter, comes
    /// last.
    ///
    /// # Errors
    /// The folder cannot be made or written to.
    pub fn save(&self, dir: impl AsRef<Path>) -> Result<(), LoraError> {
        let dir = dir.as_ref();
        make_folder(dir)?;
        let path = dir.join(WEIGHTS_FILE);
        let tensors = self.tensors().into_iter();
        let tensors = tensors.map(|(name, tensor)| (name, tensor.clone()));
        write_whole(&path, &safetensors_bytes(&path, tensors)?)?;
        write_json(&dir.join(CONFIG_FILE), self.config())
    }
}

pub(crate) fn make_folder(dir: &Path) -> Result<(), LoraError> {
    std::fs::create_dir_all(dir).map_err(|source| LoraError::Io {
        path: dir.into(),
        source,
    })
}

/// Indented JSON with a final newline.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), LoraError> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|source| LoraError::Json {
        path: path.into(),
        source,
    })?;
    text.push(b'\n');
    write_whole(path, &text)
}

/// The bytes of a safetensors file with these f32 tensors; `path` is named in errors.
pub(crate) fn safetensors_bytes(
    path: &Path,
    tensors: impl IntoIterator<Item = (String, Tensor)>,
) -> Result<Vec<u8>, LoraError> {
    let wrap = |source| LoraError::SafeTensors {
        path: path.into(),
        source,
    };
    let mut buffers = Vec::new();
    for (name, tensor) in tensors {
        let values = tensor.flatten_all()?.to_vec1::<f32>()?;
        let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
        buffers.push((name, tensor.dims().to_vec(), bytes));
    }
    let views = buffers
        .iter()
        .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, _>>()
        .map_err(wrap)?;
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    serialize(views, Some(metadata)).map_err(wrap)
}

/// The tensors of a file in the order of their names: the file's own order is another each time.
fn sorted<'a>(file: &'a SafeTensors<'_>) -> Vec<(&'a str, TensorView<'a>)> {
    let mut tensors: Vec<_> = file.iter().collect();
    tensors.sort_by_key(|(name, _)| *name);
    tensors
}

fn read_tensor(name: &str, view: &TensorView<'_>) -> Result<Tensor, LoraError> {
    let dtype = match view.dtype() {
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        other => {
            return Err(LoraError::Dtype {
                name: name.into(),
                found: format!("{other:?}"),
            });
        }
    };
    let tensor = Tensor::from_raw_buffer(view.data(), dtype, view.shape(), &Device::Cpu)?;
    Ok(tensor.to_dtype(DType::F32)?)
}

/// The bytes of a file that may be a link to anything: a device has no end, a pipe waits.
pub(crate) fn read_whole(path: &Path, most: u64) -> Result<Vec<u8>, LoraError> {
    let io = |source| LoraError::Io {
        path: path.into(),
        source,
    };
    let about = std::fs::metadata(path).map_err(io)?;
    let reason = if !about.is_file() {
        "it is not a regular file".to_owned()
    } else if about.len() > most {
        format!("it has {} bytes, expected at most {most}", about.len())
    } else {
        return std::fs::read(path).map_err(io);
    };
    Err(LoraError::Damaged {
        path: path.into(),
        reason,
    })
}

pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), LoraError> {
    let io = |source| LoraError::Io {
        path: PathBuf::from(path),
        source,
    };
    let mut file = AtomicWriteFile::open(path).map_err(io)?;
    file.write_all(bytes).map_err(io)?;
    file.commit().map_err(io)
}
