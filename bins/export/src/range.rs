//! What numbers a format can hold.

use loader::Tensor;
use stage::{OrExit, StageError};

/// The first number that rounds to infinity: half a step above f16's largest, 65504.
const TOO_LARGE: f32 = 65520.0;

/// Refuses an f32 tensor that holds infinities or values that are no numbers; else gives the largest
/// magnitude in it.
///
/// # Errors
/// Exit code 3 with the tensor and the value.
pub(crate) fn check_finite(name: &str, tensor: &Tensor) -> Result<f32, StageError> {
    let values = tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>());
    let values = values.or_failed()?;
    // `max` passes over what is no number, so this is looked for by itself.
    if let Some(bad) = values.iter().find(|value| !value.is_finite()) {
        return Err(StageError::bad_data(format!(
            "tensor `{name}` holds {bad}, which is no finite number; the model or the adapter is \
             damaged, its training diverged, or its scale is out of range"
        )));
    }
    Ok(values.iter().fold(0.0, |most, value| most.max(value.abs())))
}

/// Refuses a tensor that f16 would make infinite somewhere.
///
/// # Errors
/// Exit code 3 with the tensor, the number and what to do.
pub(crate) fn check_f16(name: &str, tensor: &Tensor) -> Result<(), StageError> {
    let largest = check_finite(name, tensor)?;
    if largest < TOO_LARGE {
        return Ok(());
    }
    Err(StageError::bad_data(format!(
        "tensor `{name}` holds {largest:e}, and f16 ends at 65504; store it as bf16 or f32"
    )))
}
