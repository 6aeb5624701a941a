//! Every kernel against its formula in f64, on the machines that the build has: the host shim
//! (feature `cuda-shim`), a GPU (feature `cuda`), or both. The bodies are the same.
//!
//! Outputs are NaN before each launch, so an element that nobody writes fails. On the shim memory
//! ends at a guard page; `SMOLTUNE_SHIM_ASAN=1 cargo test … --test kernels` builds it with the address
//! and undefined-behaviour sanitisers.
#![allow(clippy::unwrap_used, reason = "a failed test is a panic")]

mod attention;
mod decode;
mod decoding;
mod elementwise;
mod gemm;
mod gemv;
mod lora;
mod loss;
mod model;
mod ops;
mod optimizer;
mod reference;
#[cfg(feature = "cuda-shim")]
mod shim;
mod support;
mod training;
