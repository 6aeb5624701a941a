//! Matrices as a GGUF file stores them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use candle_core::quantized::{GgmlDType, QTensor};
use gguf::{GgmlType, GgufWriter};
use loader::{DType, Tensor};
use safetensors::View;
use stage::{OrExit, StageError};

use crate::args::OutType;
use crate::range::{check_f16, check_finite};

impl OutType {
    /// ggml's name, in lower case.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Q4_K => "q4_k",
        }
    }

    /// `general.file_type`: `LlamaFileType` of llama.cpp's `gguf-py`.
    pub(crate) fn file_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q8_0 => 7,
            Self::Q4_K => 14,
            Self::Bf16 => 32,
        }
    }

    /// How a tensor of this shape is stored. Vectors, which are norms, are always F32. As in
    /// llama.cpp, what does not divide into blocks gets the next type up that it divides into, and
    /// with `Q4_K` the output head is kept at 6 bits.
    pub(crate) fn kind(self, shape: &[usize], is_head: bool) -> GgmlType {
        let &[_, row] = shape else {
            return GgmlType::F32;
        };
        let divides = |kind: GgmlType| row.is_multiple_of(kind.block_size());
        let wanted: &[GgmlType] = match self {
            Self::F32 => &[GgmlType::F32],
            Self::F16 => &[GgmlType::F16],
            Self::Bf16 => &[GgmlType::BF16],
            Self::Q8_0 => &[GgmlType::Q8_0],
            Self::Q4_K if is_head => &[GgmlType::Q6K, GgmlType::Q8_0],
            Self::Q4_K => &[GgmlType::Q4K, GgmlType::Q5_0],
        };
        let found = wanted.iter().copied().find(|kind| divides(*kind));
        found.unwrap_or(GgmlType::F16)
    }
}

/// The bytes of an f32 tensor as `kind`: numbers, or blocks of a row after the other.
pub(crate) fn bytes(tensor: &Tensor, kind: GgmlType) -> io::Result<Vec<u8>> {
    let number = |dtype: DType| -> candle_core::Result<Vec<u8>> {
        let converted = tensor.to_dtype(dtype)?.contiguous()?;
        Ok(View::data(&converted).into_owned())
    };
    let blocks = |kind: GgmlDType| -> candle_core::Result<Vec<u8>> {
        Ok(QTensor::quantize(tensor, kind)?.data()?.into_owned())
    };
    let made = match kind {
        GgmlType::F32 => number(DType::F32),
        GgmlType::F16 => number(DType::F16),
        GgmlType::BF16 => number(DType::BF16),
        GgmlType::Q5_0 => blocks(GgmlDType::Q5_0),
        GgmlType::Q8_0 => blocks(GgmlDType::Q8_0),
        GgmlType::Q4K => blocks(GgmlDType::Q4K),
        GgmlType::Q6K => blocks(GgmlDType::Q6K),
        other => {
            let text = format!("{other} is not written");
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
    };
    made.map_err(io::Error::other)
}

/// A GGUF file of which nothing is written yet, and of which only the writing can fail.
pub(crate) struct GgufOut {
    name: String,
    writer: GgufWriter,
    tensors: BTreeMap<String, (Tensor, GgmlType)>,
}

impl GgufOut {
    /// A file of this name: metadata, and f32 tensors with the types that they are stored as.
    ///
    /// # Errors
    /// Exit code 3 where a type cannot hold a tensor's numbers.
    pub(crate) fn new(
        name: String,
        mut writer: GgufWriter,
        tensors: BTreeMap<String, (Tensor, GgmlType)>,
    ) -> Result<Self, StageError> {
        for (name, (tensor, kind)) in &tensors {
            match kind {
                GgmlType::F32 | GgmlType::BF16 => {
                    check_finite(name, tensor)?;
                }
                // Blocks have scales in f16.
                _ => check_f16(name, tensor)?,
            }
            writer.tensor(name, tensor.dims(), *kind).or_failed()?;
        }
        Ok(Self {
            name,
            writer,
            tensors,
        })
    }

    /// Writes it into `out`.
    pub(crate) fn write(&self, out: &Path) -> Result<PathBuf, StageError> {
        let path = out.join(&self.name);
        stage::write_with(&path, |mut file| {
            self.writer.write(&mut file, |name| {
                let (tensor, kind) = &self.tensors[name];
                bytes(tensor, *kind)
            })
        })?;
        Ok(path)
    }
}
