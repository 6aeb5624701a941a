//! Work on rows, a few dozen to a parallel task.

use rayon::prelude::*;

use crate::ops::math::to_bf16;
use crate::ops::{rms_norm_gradient_row, rms_norm_row, swiglu_gradient_row, swiglu_row};
use crate::simd::{Kernel, Simd, dispatch};

/// Rows of one task: whole groups of rows of an operand in every format (6 of f32, 16 of bf16).
pub(super) const TASK_ROWS: usize = 48;

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

struct Round<'a> {
    from: &'a [f32],
    to: &'a mut [u16],
}

impl Kernel for Round<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for (to, from) in self.to.iter_mut().zip(self.from) {
            *to = to_bf16(*from);
        }
    }
}

/// One row as bf16.
pub(super) fn round_row(from: &[f32], to: &mut [u16]) {
    dispatch(Round { from, to });
}

/// Rows as bf16.
pub(super) fn round(from: &[f32], to: &mut [u16]) {
    const TASK: usize = 1 << 14;
    to.par_chunks_mut(TASK)
        .zip(from.par_chunks(TASK))
        .for_each(|(to, from)| round_row(from, to));
}

struct Widen<'a> {
    from: &'a [u16],
    to: &'a mut [f32],
}

impl Kernel for Widen<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for (to, from) in self.to.iter_mut().zip(self.from) {
            *to = f32::from_bits(u32::from(*from) << 16);
        }
    }
}

/// Rows that were kept as they are, or as bf16.
#[derive(Clone, Copy)]
pub(super) enum Kept<'a> {
    F32(&'a [f32]),
    Bf16(&'a [u16]),
}

impl<'a> Kept<'a> {
    /// Row `i` of rows of `width`, in `room` (of a row's size) where it has to be widened.
    fn row<'b>(self, i: usize, width: usize, room: &'b mut [f32]) -> &'b [f32]
    where
        'a: 'b,
    {
        match self {
            Self::F32(rows) => &rows[i * width..][..width],
            Self::Bf16(rows) => {
                let from = &rows[i * width..][..width];
                dispatch(Widen { from, to: room });
                room
            }
        }
    }
}

/// `y = silu(gate) ∘ up` for rows `gate | up` of `2 · width`.
pub(super) fn swiglu(gate_up: Kept<'_>, width: usize, y: &mut [f32]) {
    y.par_chunks_mut(TASK_ROWS * width)
        .enumerate()
        .for_each(|(task, y)| {
            let mut room = vec![0f32; 2 * width];
            for (i, y) in y.chunks_exact_mut(width).enumerate() {
                let row = gate_up.row(task * TASK_ROWS + i, 2 * width, &mut room);
                let (gate, up) = row.split_at(width);
                swiglu_row(gate, up, y);
            }
        });
}

/// The gradient of [`swiglu`], rows `dgate | dup`.
pub(super) fn swiglu_gradient(gate_up: Kept<'_>, dy: &[f32], width: usize, d_gate_up: &mut [f32]) {
    let task_len = TASK_ROWS * width;
    d_gate_up
        .par_chunks_mut(2 * task_len)
        .zip(dy.par_chunks(task_len))
        .enumerate()
        .for_each(|(task, (to, dy))| {
            let mut room = vec![0f32; 2 * width];
            let rows = to.chunks_exact_mut(2 * width).zip(dy.chunks_exact(width));
            for (i, (to, dy)) in rows.enumerate() {
                let row = gate_up.row(task * TASK_ROWS + i, 2 * width, &mut room);
                let ((gate, up), (dgate, dup)) = (row.split_at(width), to.split_at_mut(width));
                swiglu_gradient_row((gate, up, dy), (dgate, dup));
            }
        });
}
