//! The way into a GGUF file.

use candle_core::Tensor;

use super::layout::{gguf_name, permuted_heads};
use crate::{ModelConfig, ModelError};

/// The GGUF name of the weight with this Hugging Face name, and its rows in llama.cpp's order.
///
/// llama.cpp rotates neighbouring pairs of a head's rows where transformers rotates its two halves:
/// rows `[heads, 2, half]` of q and k become `[heads, half, 2]`, as `LlamaModel.permute` in its
/// `convert_hf_to_gguf.py` does. Every other weight is as it was.
///
/// # Shapes
/// `[out, any]` for a projection: the weight itself, or a factor of its update that has its rows
/// (`B` of LoRA).
///
/// # Errors
/// If the model has no such weight, or q or k has a number of rows that its heads do not share.
pub fn to_gguf(
    name: &str,
    weight: &Tensor,
    config: &ModelConfig,
) -> Result<(String, Tensor), ModelError> {
    let Some(stored) = gguf_name(name) else {
        return Err(ModelError::Argument {
            what: "the name of a weight",
            found: format!("`{name}`"),
            expected: "one that a GGUF file of this architecture has".to_owned(),
        });
    };
    let Some(heads) = permuted_heads(&stored, config) else {
        return Ok((stored, weight.clone()));
    };
    let (rows, width) = weight.dims2()?;
    if !rows.is_multiple_of(2 * heads) {
        return Err(ModelError::Argument {
            what: "the number of rows",
            found: rows.to_string(),
            expected: format!("a multiple of 2 for each of {heads} heads"),
        });
    }
    let permuted = weight
        .reshape((heads, 2, rows / heads / 2, width))?
        .transpose(1, 2)?
        .contiguous()?
        .reshape((rows, width))?;
    Ok((stored, permuted))
}
