//! Norms of a weight's rows, by which DoRA scales outputs.
//!
//! ```text
//! W' = m ∘ (W + s B A) / n,    n_j = ‖W_j + s B_j A‖        m: [out], one for each row
//! ```
//! The norm is a constant in the backward pass. Source: Liu et al. 2024, "DoRA", sections 4.1 and 4.3; PEFT's
//! `DoraLinearLayer`.

// A kernel's body must be compiled with the instructions of the level that `simd::dispatch` chose, so
// it has to be inlined into it.
#![allow(clippy::inline_always)]

use candle_core::{DType, Result, Tensor, bail};
use rayon::prelude::*;

use super::view::View;
use crate::simd::{Kernel, Simd, dispatch};

/// `[rank, in]`, row by row, and `s · B`, `[out, rank]`, row by row.
pub(crate) type Update<'a> = (&'a [f32], &'a [f32]);

/// Norms of the rows of `weight: [out, in]` (f32 or bf16), `[out]` f32.
///
/// # Errors
/// If the weight is no matrix, or not on the CPU.
pub fn row_norms(weight: &Tensor) -> Result<Tensor> {
    norms_of(weight, None)
}

/// Norms of the rows of `W + scale · B A` for `weight: [out, in]` (f32 or bf16), `a: [r, in]`, `b: [out, r]`; `[out]`
/// f32, and no part of any graph.
///
/// # Errors
/// If the shapes do not fit or a tensor is not on the CPU.
pub fn adapted_row_norms(
    weight: &Tensor,
    (a, b): (&Tensor, &Tensor),
    scale: f64,
) -> Result<Tensor> {
    let ((out, inputs), (rank, width)) = (weight.dims2()?, a.dims2()?);
    if width != inputs || b.dims() != [out, rank] {
        bail!(
            "adapter does not fit the weight [{out}, {inputs}]: A is {:?}, B is {:?}; expected [r, {inputs}] and [{out}, r]",
            a.dims(),
            b.dims()
        );
    }
    let (a, b) = (a.contiguous()?, b.contiguous()?);
    let (a, b) = (View::<f32>::of(&a)?, View::<f32>::of(&b)?);
    let b: Vec<f32> = b.slice().iter().map(|b| scale as f32 * b).collect();
    norms_of(weight, Some((a.slice(), &b)))
}

fn norms_of(weight: &Tensor, update: Option<Update<'_>>) -> Result<Tensor> {
    let (out, inputs) = weight.dims2()?;
    let weight = weight.to_dtype(DType::F32)?.contiguous()?;
    let view = View::<f32>::of(&weight)?;
    let rows = view.slice();
    let squares = row_squares(out, inputs, update, &|j, row| {
        row.copy_from_slice(&rows[j * inputs..][..inputs]);
    });
    let norms: Vec<f32> = squares.into_iter().map(norm).collect();
    Tensor::from_vec(norms, out, weight.device())
}

/// `‖W_j + s B_j A‖²` for `j < out`, where `row` gives `W_j`; summed in f64, in one order.
pub(crate) fn row_squares(
    out: usize,
    inputs: usize,
    update: Option<Update<'_>>,
    row: &(dyn Fn(usize, &mut [f32]) + Sync),
) -> Vec<f64> {
    let mut squares = vec![0f64; out];
    squares
        .par_chunks_mut(ROWS)
        .enumerate()
        .for_each(|(task, squares)| {
            let mut room = vec![0f32; inputs];
            for (i, square) in squares.iter_mut().enumerate() {
                let j = task * ROWS + i;
                row(j, &mut room);
                let update = update.map(|(a, b)| {
                    let rank = a.len() / inputs;
                    (a, &b[j * rank..][..rank])
                });
                *square = dispatch(Square {
                    row: &mut room,
                    update,
                });
            }
        });
    squares
}

/// Rows of one parallel task.
const ROWS: usize = 16;

/// `‖row + Σ_r b_r A_r‖²`
struct Square<'a> {
    row: &'a mut [f32],
    update: Option<Update<'a>>,
}

impl Kernel for Square<'_> {
    type Output = f64;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> f64 {
        let Self { row, update } = self;
        if let Some((a, b)) = update {
            for (b, a) in b.iter().zip(a.chunks_exact(row.len())) {
                for (x, a) in row.iter_mut().zip(a) {
                    *x += b * a;
                }
            }
        }
        let mut lanes = [0f64; 8];
        let (chunks, rest) = row.as_chunks::<8>();
        for chunk in chunks {
            for (lane, x) in lanes.iter_mut().zip(chunk) {
                *lane += f64::from(*x) * f64::from(*x);
            }
        }
        for (lane, x) in lanes.iter_mut().zip(rest) {
            *lane += f64::from(*x) * f64::from(*x);
        }
        lanes.iter().sum()
    }
}

/// The root of a square; what rounding took a hair below zero is zero.
pub(crate) fn norm(square: f64) -> f32 {
    // `f64::max` would make a zero of what is no number.
    (if square < 0.0 { 0.0 } else { square }).sqrt() as f32
}

/// What is divided by. A row of zeros has no direction to scale: it gives 0, whatever its magnitude, where dividing by
/// its norm would give no number.
pub(crate) fn divisor(norm: f32) -> f32 {
    if norm == 0.0 { f32::INFINITY } else { norm }
}

/// `m / n` for each row: what outputs are multiplied by.
pub(crate) fn output_scales(magnitude: &[f32], norms: impl IntoIterator<Item = f32>) -> Vec<f32> {
    let both = magnitude.iter().zip(norms);
    both.map(|(m, norm)| m / divisor(norm)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn norms_are_those_of_whole_rows() {
        for (out, inputs, rank) in [(1, 3, 1), (37, 96, 4), (50, 129, 16)] {
            let values = |n: usize, key: usize| -> Vec<f32> {
                (0..n)
                    .map(|i| ((i * 7919 + key * 104_729 + 17) as f32 * 0.37).sin())
                    .collect()
            };
            let tensor = |rows: usize, cols: usize, key| {
                Tensor::from_vec(values(rows * cols, key), (rows, cols), &Device::Cpu).unwrap()
            };
            let (w, a, b) = (
                tensor(out, inputs, 1),
                tensor(rank, inputs, 2),
                tensor(out, rank, 3),
            );
            let f64s = |t: &Tensor| t.to_dtype(DType::F64).unwrap();
            let whole = (f64s(&w) + (f64s(&b).matmul(&f64s(&a)).unwrap() * 1.5).unwrap()).unwrap();
            for (found, whole) in [
                (row_norms(&w).unwrap(), f64s(&w)),
                (adapted_row_norms(&w, (&a, &b), 1.5).unwrap(), whole),
            ] {
                let expected = whole.sqr().unwrap().sum(1).unwrap().sqrt().unwrap();
                let expected: Vec<f64> = expected.to_vec1().unwrap();
                for (found, expected) in found.to_vec1::<f32>().unwrap().iter().zip(expected) {
                    let apart = (f64::from(*found) / expected - 1.0).abs();
                    assert!(apart < 3e-7, "{found} {expected}");
                }
            }
        }
    }

    #[test]
    fn a_row_of_zeros_gives_zero_and_no_number_stays_none() {
        assert_eq!(output_scales(&[2.0, 3.0], [0.0, 2.0]), [0.0, 1.5]);
        assert!(output_scales(&[2.0], [norm(f64::NAN)])[0].is_nan());
        assert_eq!(norm(-1e-12), 0.0);
    }
}
