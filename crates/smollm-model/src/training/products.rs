//! Products with frozen weights in both directions.

use candle_core::DType;
use cpu_gemm::{Arithmetic, Operand, OperandKind, PackedMatrix};
use rayon::prelude::*;

use super::rows::TASK_ROWS;

/// Frozen weights `W: [out, in]`, and what they are multiplied with.
#[derive(Clone, Debug)]
pub(super) struct Frozen {
    pub(super) matrix: PackedMatrix,
    kind: OperandKind,
}

impl Frozen {
    /// Products of f32, or of bf16 where that is asked for and the CPU has it.
    pub(super) fn new(matrix: PackedMatrix, dtype: DType) -> Self {
        let kind = match dtype {
            DType::BF16 => matrix.operand_kind(Arithmetic::Float),
            _ => OperandKind::F32,
        };
        Self { matrix, kind }
    }

    /// Whether inputs of products are rounded to bf16.
    pub(super) fn rounds(&self) -> bool {
        self.kind == OperandKind::Bf16
    }
}

/// `y = x Wᵀ` for `W: [out, in]`, `x: [rows, in]`, `y: [rows, out]`; the operand is room for `x` as the product wants it.
pub(super) fn multiply(weights: &Frozen, x: &[f32], operand: &mut Operand, y: &mut [f32]) {
    let matrix = &weights.matrix;
    fill(weights, (x, matrix.k()), matrix.k(), operand);
    matrix.multiply(operand, y);
}

/// `dx = dy W` for `W: [out, in]`, `dy: [rows, out]`, `dx: [rows, in]`.
pub(super) fn multiply_back(weights: &Frozen, dy: &[f32], operand: &mut Operand, dx: &mut [f32]) {
    let matrix = &weights.matrix;
    fill(weights, (dy, matrix.n()), matrix.n(), operand);
    matrix.multiply_transposed(operand, dx);
}

/// Turns rows of `x`, `stride` values apart, into what the weights are multiplied with; a row's first `inputs` values count.
pub(super) fn fill(
    weights: &Frozen,
    (x, stride): (&[f32], usize),
    inputs: usize,
    operand: &mut Operand,
) {
    operand.shape(weights.kind, x.len().div_ceil(stride), inputs);
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
