//! Weights in a GGUF file, dequantised on load.

use std::path::{Path, PathBuf};

use candle_core::quantized::{GgmlDType, ggml_file::qtensor_from_ggml};
use candle_core::{Device, Tensor};
use cpu_gemm::{Format, GemmError, PackedMatrix};
use gguf::{GgmlType, GgufFile, TensorInfo};

use super::layout::{gguf_name, hf_name, permuted_heads};
use crate::{ModelConfig, ModelError};

/// An open GGUF file, its tensors under Hugging Face names.
#[derive(Debug)]
pub(super) struct GgufWeights {
    file: GgufFile,
    path: PathBuf,
    config: ModelConfig,
}

impl GgufWeights {
    pub(super) fn new(file: GgufFile, path: &Path, config: &ModelConfig) -> Self {
        Self {
            file,
            path: path.to_path_buf(),
            config: config.clone(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self
            .file
            .tensors()
            .iter()
            .filter_map(|tensor| hf_name(&tensor.name))
            .collect();
        names.sort_unstable();
        names
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    fn find(&self, name: &str) -> Result<&TensorInfo, ModelError> {
        let stored = gguf_name(name);
        let found = stored
            .as_deref()
            .and_then(|stored| self.file.tensor(stored));
        found.ok_or_else(|| ModelError::MissingTensor {
            path: self.path.clone(),
            tensor: stored.unwrap_or_else(|| name.to_owned()),
        })
    }

    pub(super) fn check(&self, name: &str, shape: &[usize]) -> Result<(), ModelError> {
        let tensor = self.find(name)?;
        self.candle_type(tensor)?;
        if tensor.shape != shape {
            return Err(ModelError::TensorShape {
                path: self.path.clone(),
                tensor: tensor.name.clone(),
                found: tensor.shape.clone(),
                expected: shape.to_vec(),
            });
        }
        Ok(())
    }

    /// Dequantises one tensor to F32 and puts q and k rows back into rotate-half order.
    pub(super) fn load(&self, name: &str) -> Result<Tensor, ModelError> {
        let tensor = self.find(name)?;
        let kind = self.candle_type(tensor)?;
        let bytes = self.file.tensor_bytes(tensor)?;
        // candle reads the blocks in place, so they must lie as the widest of their fields needs.
        if !(bytes.as_ptr() as usize).is_multiple_of(align_of::<f32>()) {
            return Err(ModelError::Damaged {
                path: self.path.clone(),
                reason: format!("tensor `{}` does not start at a multiple of 4", tensor.name),
            });
        }
        let shape = tensor.shape.clone();
        let weight =
            qtensor_from_ggml(kind, bytes, shape, &Device::Cpu)?.dequantize(&Device::Cpu)?;
        match permuted_heads(&tensor.name, &self.config) {
            Some(heads) => Ok(unpermute(&weight, heads)?),
            None => Ok(weight),
        }
    }

    /// The format of a tensor's blocks, where they can be packed as they are.
    pub(super) fn stored_format(&self, name: &str) -> Option<Format> {
        Some(match self.find(name).ok()?.ggml_type {
            GgmlType::F32 => Format::F32,
            GgmlType::BF16 => Format::Bf16,
            GgmlType::Q8_0 => Format::Q8_0,
            GgmlType::Q4_0 => Format::Q4_0,
            GgmlType::Q4_1 => Format::Q4_1,
            GgmlType::Q5_0 => Format::Q5_0,
            GgmlType::Q5_1 => Format::Q5_1,
            GgmlType::Q4K => Format::Q4_K,
            GgmlType::Q5K => Format::Q5_K,
            GgmlType::Q6K => Format::Q6_K,
            _ => return None,
        })
    }

    /// What a tensor is packed as where nothing else is asked for.
    pub(super) fn packed_format(&self, name: &str) -> Format {
        let half = self
            .find(name)
            .is_ok_and(|tensor| tensor.ggml_type == GgmlType::F16);
        let other = if half { Format::F32 } else { Format::Q8_0 };
        self.stored_format(name).unwrap_or(other)
    }

    /// Packs a tensor's blocks as they are.
    pub(super) fn packed(
        &self,
        name: &str,
        n: usize,
        k: usize,
        format: Format,
    ) -> Result<Result<PackedMatrix, GemmError>, ModelError> {
        let tensor = self.find(name)?;
        let bytes = self.file.tensor_bytes(tensor)?;
        let rotated = permuted_heads(&tensor.name, &self.config);
        let source_row = |row: usize| rotated.map_or(row, |heads| unpermuted(row, n / heads));
        Ok(PackedMatrix::from_ggml(format, bytes, n, k, &source_row))
    }

    fn candle_type(&self, tensor: &TensorInfo) -> Result<GgmlDType, ModelError> {
        candle_type(tensor.ggml_type).ok_or_else(|| ModelError::TensorType {
            path: self.path.clone(),
            tensor: tensor.name.clone(),
            found: tensor.ggml_type.name().to_owned(),
            expected: readable_types(),
        })
    }
}

/// llama.cpp rotates neighbouring pairs of a head's rows where transformers rotates its two
/// halves, and its converter permutes the rows of q and k for that. This is the way back: rows
/// `[heads, half, 2]` become `[heads, 2, half]`.
fn unpermute(weight: &Tensor, heads: usize) -> candle_core::Result<Tensor> {
    let (rows, width) = weight.dims2()?;
    weight
        .reshape((heads, rows / heads / 2, 2, width))?
        .transpose(1, 2)?
        .contiguous()?
        .reshape((rows, width))
}

/// The stored row that belongs at row `row`, for heads of `dim` rows: see [`unpermute`].
fn unpermuted(row: usize, dim: usize) -> usize {
    let (head, within) = (row / dim, row % dim);
    let (half, at) = (within / (dim / 2), within % (dim / 2));
    head * dim + 2 * at + half
}

/// The types that candle can dequantise.
fn candle_type(stored: GgmlType) -> Option<GgmlDType> {
    Some(match stored {
        GgmlType::F32 => GgmlDType::F32,
        GgmlType::F16 => GgmlDType::F16,
        GgmlType::BF16 => GgmlDType::BF16,
        GgmlType::Q4_0 => GgmlDType::Q4_0,
        GgmlType::Q4_1 => GgmlDType::Q4_1,
        GgmlType::Q5_0 => GgmlDType::Q5_0,
        GgmlType::Q5_1 => GgmlDType::Q5_1,
        GgmlType::Q8_0 => GgmlDType::Q8_0,
        GgmlType::Q2K => GgmlDType::Q2K,
        GgmlType::Q3K => GgmlDType::Q3K,
        GgmlType::Q4K => GgmlDType::Q4K,
        GgmlType::Q5K => GgmlDType::Q5K,
        GgmlType::Q6K => GgmlDType::Q6K,
        _ => return None,
    })
}

fn readable_types() -> String {
    let readable = GgmlType::ALL
        .iter()
        .filter(|kind| candle_type(**kind).is_some());
    readable
        .map(|kind| kind.name())
        .collect::<Vec<_>>()
        .join(", ")
}
