//! `model.safetensors`.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use loader::{DType, Tensor};
use safetensors::{Dtype, View};
use stage::StageError;

/// The name until the file is whole.
pub(crate) const PART: &str = "model.safetensors.part";
const WHOLE: &str = "model.safetensors";

/// Writes the weights as `dtype` under a passing name and renames the whole file.
pub(crate) fn write(
    out: &Path,
    weights: &[(String, &Tensor)],
    dtype: DType,
) -> Result<PathBuf, StageError> {
    let (part, whole) = (out.join(PART), out.join(WHOLE));
    // The library makes a file that only its owner may read; it gets the usual rights back.
    let rights = std::fs::File::create(&part)
        .and_then(|file| file.metadata())
        .map_err(|e| cannot_write(&whole, &e.to_string()))?
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
                .and_then(|()| std::fs::rename(&part, &whole))
                .map_err(|e| e.to_string())
        });
    written.map_err(|e| {
        // Half a file helps nobody, and may be what fills the disk.
        let _ = std::fs::remove_file(&part);
        cannot_write(&whole, &e)
    })?;
    Ok(whole)
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
