//! Products with frozen weights in both directions.

use cpu_gemm::{Arithmetic, Operand, PackedMatrix};
use rayon::prelude::*;

use super::rows::TASK_ROWS;

/// `y = x Wᵀ` for `W: [out, in]`, `x: [rows, in]`, `y: [rows, out]`; the operand is room for `x` as the product wants it.
pub(super) fn multiply(matrix: &PackedMatrix, x: &[f32], operand: &mut Operand, y: &mut [f32]) {
    fill(matrix, (x, matrix.k()), matrix.k(), operand);
    matrix.multiply(operand, y);
}

/// `dx = dy W` for `W: [out, in]`, `dy: [rows, out]`, `dx: [rows, in]`.
pub(super) fn multiply_back(
    matrix: &PackedMatrix,
    dy: &[f32],
    operand: &mut Operand,
    dx: &mut [f32],
) {
    fill(matrix, (dy, matrix.n()), matrix.n(), operand);
    matrix.multiply_transposed(operand, dx);
}

/// Turns rows of `x`, `stride` values apart, into what `matrix` is multiplied with; a row's first `inputs` values count.
pub(super) fn fill(
    matrix: &PackedMatrix,
    (x, stride): (&[f32], usize),
    inputs: usize,
    operand: &mut Operand,
) {
    operand.shape(
        matrix.operand_kind(Arithmetic::Float),
        x.len().div_ceil(stride),
        inputs,
    );
    let operand = &*operand;
    x.par_chunks(TASK_ROWS * stride)
        .enumerate()
        .for_each(|(task, rows)| {
            for (i, row) in rows.chunks(stride).enumerate() {
                // SAFETY: the operand has been shaped for these rows, each of which one task fills; it is borrowed
                // mutably, so nobody multiplies.
                unsafe { operand.fill_row(task * TASK_ROWS + i, &row[..inputs]) };
            }
        });
}
