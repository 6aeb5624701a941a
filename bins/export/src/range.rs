//! What fits into f16.

use loader::Tensor;
use stage::{OrExit, StageError};

/// The first number that rounds to infinity: half a step above f16's largest, 65504.
const TOO_LARGE: f32 = 65520.0;

/// Refuses a tensor that f16 would make infinite somewhere.
///
/// # Errors
/// Exit code 3 with the tensor, the number and what to do.
pub(crate) fn check_f16(name: &str, tensor: &Tensor) -> Result<(), StageError> {
    let largest = tensor.abs().and_then(|all| all.max_all());
    let largest = largest
        .and_then(|most| most.to_scalar::<f32>())
        .or_failed()?;
    if largest < TOO_LARGE {
        return Ok(());
    }
    Err(StageError::bad_data(format!(
        "tensor `{name}` holds {largest:e}, and f16 ends at 65504; store it as bf16 or f32"
    )))
}
