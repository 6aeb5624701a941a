//! Products with frozen matrices on a CPU: `Y = X Wᵀ`, `W` in f32, bf16 or one of GGUF's quantised
//! formats.
//!
//! A language model multiplies the same matrices with every token. So the decision this crate
//! embodies: **a matrix is packed once, into the layout that the fastest instructions want, and a
//! row of activations is converted once for all matrices that use it.** A packed matrix is a
//! sequence of panels of 16 outputs; every kernel reads a panel from its first byte to its last,
//! which is all that a memory-bound product can do, and large products reuse it from the cache.
//!
//! The second decision: **a row's result does not depend on its company.** Each output is summed
//! over the inputs in one order that depends on the format, the kind of operand and the machine,
//! never on how many rows are computed together, how the panels are split among threads, or where
//! in the batch a row stands. Batched inference is bit for bit what inference alone is.
//!
//! There are two kinds of arithmetic. [`Arithmetic::Float`] multiplies f32 with f32, or bf16 with
//! bf16 (sums in f32) where the CPU has instructions for it, AMX tiles included; quantised weights
//! become floats on the way. [`Arithmetic::Integer`] quantises the activations too, in blocks of
//! 32 bytes, and is exact within a block: every machine gives the same bits. It is the faster one
//! for few rows. Which instructions there are is seen at run time ([`capabilities`]).
//!
//! ```
//! use cpu_gemm::{Arithmetic, Format, Operand, PackedMatrix};
//!
//! # fn main() -> Result<(), cpu_gemm::GemmError> {
//! // Two outputs of 32 inputs: the sum of all inputs, and the first one.
//! let mut rows = vec![0.0f32; 2 * 32];
//! rows[..32].fill(1.0);
//! rows[32] = 1.0;
//! let matrix = PackedMatrix::from_f32(&rows, 2, 32, Format::Q8_0)?;
//!
//! // One row of activations, converted once.
//! let mut x = Operand::default();
//! x.fill(matrix.operand_kind(Arithmetic::Integer), &[0.5; 32], 1, 32);
//! let mut y = [0.0; 2];
//! matrix.multiply(&x, &mut y);
//! assert!((y[0] - 16.0).abs() < 0.01 && (y[1] - 0.5).abs() < 0.01);
//! # Ok(())
//! # }
//! ```
//!
//! Only little-endian machines are supported.

#![allow(
    clippy::cast_ptr_alignment,
    reason = "packed memory is aligned to 64 and every part of it to its type"
)]

#[cfg(target_endian = "big")]
compile_error!("packed weights and their kernels are little-endian");

mod cpu;
mod error;
mod format;
mod kernels;
mod matrix;
mod memory;
mod operand;
mod pack;
mod quantise;
#[cfg(test)]
mod tests;
pub mod tiles;
mod transposed;

pub use cpu::{Capabilities, capabilities};
pub use error::GemmError;
pub use format::{Arithmetic, Format, OperandKind};
pub use matrix::PackedMatrix;
pub use operand::Operand;
