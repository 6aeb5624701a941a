//! `model.safetensors`, or several files and an index.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use loader::{DType, Tensor};
use safetensors::{Dtype, View};
use serde_json::json;
use stage::StageError;

use crate::range::{check_f16, check_finite};

/// Weights by their Hugging Face names.
pub(crate) type Weights<'a> = [(String, &'a Tensor)];

/// transformers' name of the index.
pub(crate) const INDEX: &str = "model.safetensors.index.json";
/// transformers' name where one file holds all.
pub(crate) const SINGLE: &str = "model.safetensors";
/// That file until it is whole.
pub(crate) const SINGLE_PART: &str = "model.safetensors.part";

/// Whether this is the name of one of several files, whole or begun:
/// `model-NNNNN-of-NNNNN.safetensors`.
pub(crate) fn is_shard(name: &str) -> bool {
    let whole = name.strip_suffix(".part").unwrap_or(name);
    let numbers = whole.strip_prefix("model-");
    let numbers = numbers.and_then(|rest| rest.strip_suffix(".safetensors"));
    let numbers = numbers.and_then(|rest| rest.split_once("-of-"));
    let number = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    numbers.is_some_and(|(i, n)| number(i) && number(n))
}

/// Refuses weights that `dtype` cannot hold.
///
/// # Errors
/// Exit code 3 with the tensor.
pub(crate) fn check(weights: &Weights<'_>, dtype: DType) -> Result<(), StageError> {
    weights.iter().try_for_each(|(name, tensor)| {
        if dtype == DType::F16 {
            check_f16(name, tensor)
        } else {
            check_finite(name, tensor).map(|_| ())
        }
    })
}

/// Writes the weights as `dtype` into files of at most `most` bytes of tensors each (a larger tensor
/// has a file of its own), in the order and under the names that transformers gives them.
pub(crate) fn write(
    out: &Path,
    weights: &Weights<'_>,
    dtype: DType,
    most: u64,
) -> Result<Vec<PathBuf>, StageError> {
    let shards = shards(weights, dtype, most);
    if let [all] = shards.as_slice() {
        return Ok(vec![write_file(&out.join(SINGLE), all, dtype)?]);
    }
    let mut written = Vec::new();
    let mut places = BTreeMap::new();
    for (i, shard) in shards.iter().enumerate() {
        let name = format!("model-{:05}-of-{:05}.safetensors", i + 1, shards.len());
        written.push(write_file(&out.join(&name), shard, dtype)?);
        places.extend(shard.iter().map(|(tensor, _)| (tensor, name.clone())));
    }
    let parameters: usize = weights.iter().map(|(_, t)| t.elem_count()).sum();
    let index = json!({
        "metadata": {
            "total_parameters": parameters,
            "total_size": parameters * dtype.size_in_bytes(),
        },
        "weight_map": places,
    });
    stage::write_json(&out.join(INDEX), &index)?;
    written.push(out.join(INDEX));
    Ok(written)
}

/// Consecutive weights that go into one file each: in order, each at most `most` bytes unless a single
/// tensor is larger.
fn shards<'w, 't>(weights: &'w Weights<'t>, dtype: DType, most: u64) -> Vec<&'w Weights<'t>> {
    let size = |tensor: &Tensor| (tensor.elem_count() * dtype.size_in_bytes()) as u64;
    let (mut shards, mut first, mut bytes) = (Vec::new(), 0, 0);
    for (i, (_, tensor)) in weights.iter().enumerate() {
        if i > first && bytes + size(tensor) > most {
            shards.push(&weights[first..i]);
            (first, bytes) = (i, 0);
        }
        bytes += size(tensor);
    }
    shards.push(&weights[first..]);
    shards
}

/// Writes a file under a passing name and renames it when it is whole.
fn write_file(whole: &Path, weights: &Weights<'_>, dtype: DType) -> Result<PathBuf, StageError> {
    let part = whole.with_extension("safetensors.part");
    // The library makes a file that only its owner may read; it gets the usual rights back.
    let rights = std::fs::File::create(&part)
        .and_then(|file| file.metadata())
        .map_err(|e| cannot_write(whole, &e.to_string()))?
        .permissions();
    // transformers refuses a file that does not say it came from torch.
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    let views = weights
        .iter()
        .map(|(name, tensor)| (name.as_str(), Stored { tensor, dtype }));
    let written = safetensors::serialize_to_file(views, Some(metadata), &part)
        .map_err(|e| e.to_string())
        .and_then(|()| {
            let flushed = std::fs::File::open(&part).and_then(|file| file.sync_all());
            flushed
                .and_then(|()| std::fs::set_permissions(&part, rights))
                .and_then(|()| std::fs::rename(&part, whole))
                .map_err(|e| e.to_string())
        });
    written.map_err(|e| {
        // Half a file helps nobody, and may be what fills the disk.
        let _ = std::fs::remove_file(&part);
        cannot_write(whole, &e)
    })?;
    Ok(whole.to_path_buf())
}

fn cannot_write(path: &Path, reason: &str) -> StageError {
    StageError::failed(format!(
        "cannot write {}: {reason}; check that the folder is writable and has space",
        path.display()
    ))
}

/// A tensor that is converted when it is written: one at a time, not all at once.
struct Stored<'a> {
    tensor: &'a Tensor,
    dtype: DType,
}

impl View for Stored<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype.into()
    }

    fn shape(&self) -> &[usize] {
        self.tensor.dims()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        // The trait has no way to fail. A conversion between float types on the CPU does not.
        let converted = self.tensor.to_dtype(self.dtype);
        Cow::Owned(
            converted
                .map(|tensor| View::data(&tensor).into_owned())
                .unwrap_or_default(),
        )
    }

    fn data_len(&self) -> usize {
        self.tensor.elem_count() * self.dtype.size_in_bytes()
    }
}
