//! No byte belongs to two tensors.
//!
//! A table in which many entries point at the same bytes is how a small file asks a reader for more
//! memory than it has: each entry would be dequantised on its own.

use crate::error::Problem;
use crate::header::TensorInfo;

/// Refuses tensors that share bytes; tensors without bytes share none.
pub(crate) fn refuse(tensors: &[TensorInfo]) -> Result<(), Problem> {
    let mut by_start: Vec<&TensorInfo> = tensors.iter().filter(|t| t.n_bytes > 0).collect();
    by_start.sort_by_key(|tensor| tensor.offset);
    for pair in by_start.windows(2) {
        let [before, after] = pair else { continue };
        let end = before.offset.saturating_add(before.n_bytes);
        if after.offset < end {
            return Err(Problem::Overlap {
                tensor: after.name.clone(),
                start: after.offset,
                other: before.name.clone(),
                end,
            });
        }
    }
    Ok(())
}
