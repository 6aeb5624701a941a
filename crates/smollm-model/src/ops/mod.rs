//! Differentiable operations, each with its formula, its fast CPU path and its exact backward pass.
//!
//! candle's fused `rms_norm`, `softmax_last_dim`, `rope` and `sdpa` have no backward: the gradient is
//! cut without an error. These ops are custom ops whose backward is tested against finite
//! differences. They all work on rows of tokens, `[tokens, features]`, packed without padding.

// A kernel's body must be compiled with the instructions of the level that `simd::dispatch` chose, so
// it has to be inlined into it.
#![allow(clippy::inline_always)]

mod attention;
mod cross_entropy;
mod dropout;
pub(crate) mod gemm;
mod linear;
pub(crate) mod math;
mod rms_norm;
mod rope;
mod row_norms;
mod swiglu;
#[cfg(test)]
mod tests;
mod view;

pub use attention::{Heads, attention};
pub(crate) use attention::{
    KeyValues, QUERY_TILE, ScoreGradient, Sequence, attend_cached, softmax_rows,
};
pub(crate) use cross_entropy::{CHUNK as LOSS_CHUNK, nll_gradient_row};
pub use cross_entropy::{cross_entropy, nll_of_logits};
pub use dropout::Dropout;
pub(crate) use dropout::{Mask, mix};
pub use linear::{frozen_linear, low_rank_linear};
pub use rms_norm::rms_norm;
pub(crate) use rms_norm::{rms_norm_gradient_row, rms_norm_row};
pub use rope::RopeTable;
pub use row_norms::{adapted_row_norms, row_norms};
pub(crate) use row_norms::{divisor, norm, output_scales, row_squares};
pub use swiglu::swiglu;
pub(crate) use swiglu::{swiglu_gradient_row, swiglu_row};
pub(crate) use view::View;
