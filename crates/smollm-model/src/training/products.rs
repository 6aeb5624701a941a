//! Products with frozen weights in both directions.

use cpu_gemm::{Arithmetic, Format, GemmError, Operand, PackedMatrix};
use rayon::prelude::*;

use super::rows::TASK_ROWS;

/// A frozen weight `W: [out, in]`, packed for both directions.
#[derive(Debug)]
pub(super) struct Linear {
    /// `W`
    forward: PackedMatrix,
    /// `Wᵀ`
    backward: PackedMatrix,
}

impl Linear {
    /// Packs `rows: [out, in]`.
    ///
    /// # Errors
    /// If there is no memory left.
    pub(super) fn new(
        rows: &[f32],
        out: usize,
        inputs: usize,
        format: Format,
    ) -> Result<Self, GemmError> {
        Ok(Self {
            forward: PackedMatrix::from_f32(rows, out, inputs, format)?,
            backward: PackedMatrix::from_f32(&transposed(rows, inputs), inputs, out, format)?,
        })
    }

    /// `y = x Wᵀ`, `x: [rows, in]`, `y: [rows, out]`.
    pub(super) fn forward(&self, x: &[f32], operand: &mut Operand, y: &mut [f32]) {
        multiply(&self.forward, x, operand, y);
    }

    /// `dx = dy W`, `dy: [rows, out]`, `dx: [rows, in]`.
    pub(super) fn backward(&self, dy: &[f32], operand: &mut Operand, dx: &mut [f32]) {
        multiply(&self.backward, dy, operand, dx);
    }
}

/// `y = x Mᵀ`; the operand is room for `x` as the product wants it.
pub(super) fn multiply(matrix: &PackedMatrix, x: &[f32], operand: &mut Operand, y: &mut [f32]) {
    fill(matrix, x, matrix.k(), operand);
    matrix.multiply(operand, y);
}

/// Turns rows of `x`, `stride` values apart, into what `matrix` is multiplied with; a row's first values are its inputs.
pub(super) fn fill(matrix: &PackedMatrix, x: &[f32], stride: usize, operand: &mut Operand) {
    let k = matrix.k();
    operand.shape(
        matrix.operand_kind(Arithmetic::Float),
        x.len().div_ceil(stride),
        k,
    );
    let operand = &*operand;
    x.par_chunks(TASK_ROWS * stride)
        .enumerate()
        .for_each(|(task, rows)| {
            for (i, row) in rows.chunks(stride).enumerate() {
                // SAFETY: the operand has been shaped for these rows, each of which one task fills; it is borrowed
                // mutably, so nobody multiplies.
                unsafe { operand.fill_row(task * TASK_ROWS + i, &row[..k]) };
            }
        });
}

/// The transpose of a row-major matrix with `cols` columns.
pub(super) fn transposed(matrix: &[f32], cols: usize) -> Vec<f32> {
    const BLOCK: usize = 32;
    let rows = matrix.len() / cols;
    let mut out = vec![0f32; matrix.len()];
    for first_row in (0..rows).step_by(BLOCK) {
        for first_col in (0..cols).step_by(BLOCK) {
            for r in first_row..(first_row + BLOCK).min(rows) {
                for c in first_col..(first_col + BLOCK).min(cols) {
                    out[c * rows + r] = matrix[r * cols + c];
                }
            }
        }
    }
    out
}
