//! Work on rows, a few dozen to a parallel task.

use rayon::prelude::*;

use crate::ops::{rms_norm_gradient_row, rms_norm_row, swiglu_gradient_row, swiglu_row};
use crate::simd::{Kernel, Simd, dispatch};

/// Rows of one task: whole groups of rows of an operand in every format (6 of f32, 16 of bf16).
pub(super) const TASK_ROWS: usize = 48;

/// The first `len` elements of a buffer that never shrinks; what they hold does not matter.
pub(super) fn grow<T: Copy + Default>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
    if buffer.len() < len {
        buffer.resize(len, T::default());
    }
    &mut buffer[..len]
}

struct Add<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Add<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for (y, x) in self.y.iter_mut().zip(self.x) {
            *y += x;
        }
    }
}

/// `y += x` on one row.
pub(super) fn add_row(x: &[f32], y: &mut [f32]) {
    dispatch(Add { x, y });
}

/// `y += x`, rows of `width`.
pub(super) fn add(x: &[f32], y: &mut [f32], width: usize) {
    y.par_chunks_mut(TASK_ROWS * width)
        .zip(x.par_chunks(TASK_ROWS * width))
        .for_each(|(y, x)| add_row(x, y));
}

/// `y = rms_norm(x)`, rows as wide as the weight. Formula: [`crate::ops::rms_norm`].
pub(super) fn normalise(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
    let task = TASK_ROWS * weight.len();
    y.par_chunks_mut(task)
        .zip(x.par_chunks(task))
        .for_each(|(y, x)| {
            let rows = y
                .chunks_exact_mut(weight.len())
                .zip(x.chunks_exact(weight.len()));
            for (y, x) in rows {
                rms_norm_row(x, weight, eps, y);
            }
        });
}

/// `dx += d rms_norm(x)ᵀ dy`, rows as wide as the weight; `dy` is overwritten.
pub(super) fn add_norm_gradient(x: &[f32], weight: &[f32], eps: f32, dy: &[f32], dx: &mut [f32]) {
    let width = weight.len();
    let task = TASK_ROWS * width;
    dx.par_chunks_mut(task)
        .zip(x.par_chunks(task))
        .zip(dy.par_chunks(task))
        .for_each(|((dx, x), dy)| {
            let mut part = vec![0f32; width];
            let rows = dx.chunks_exact_mut(width).zip(x.chunks_exact(width));
            for ((dx, x), dy) in rows.zip(dy.chunks_exact(width)) {
                rms_norm_gradient_row(x, weight, dy, eps, &mut part);
                add_row(&part, dx);
            }
        });
}

/// `y = silu(gate) ∘ up` for rows `gate | up` of `2 · width`.
pub(super) fn swiglu(gate_up: &[f32], width: usize, y: &mut [f32]) {
    y.par_chunks_mut(TASK_ROWS * width)
        .zip(gate_up.par_chunks(2 * TASK_ROWS * width))
        .for_each(|(y, gate_up)| {
            let rows = y.chunks_exact_mut(width);
            for (y, row) in rows.zip(gate_up.chunks_exact(2 * width)) {
                let (gate, up) = row.split_at(width);
                swiglu_row(gate, up, y);
            }
        });
}

/// The gradient of [`swiglu`], rows `dgate | dup`.
pub(super) fn swiglu_gradient(gate_up: &[f32], dy: &[f32], width: usize, d_gate_up: &mut [f32]) {
    let task = TASK_ROWS * width;
    d_gate_up
        .par_chunks_mut(2 * task)
        .zip(gate_up.par_chunks(2 * task))
        .zip(dy.par_chunks(task))
        .for_each(|((to, gate_up), dy)| {
            let rows = to
                .chunks_exact_mut(2 * width)
                .zip(gate_up.chunks_exact(2 * width));
            for ((to, row), dy) in rows.zip(dy.chunks_exact(width)) {
                let ((gate, up), (dgate, dup)) = (row.split_at(width), to.split_at_mut(width));
                swiglu_gradient_row((gate, up, dy), (dgate, dup));
            }
        });
}
