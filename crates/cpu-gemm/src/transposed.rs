//! Products with the transpose of a packed matrix, `Y = X W`, without a second copy of it.
//!
//! Some panels of `Wᵀ` at a time are put together in a thread's own memory, in blocks of 16 × 16, and multiplied as a
//! packed matrix is: they stay in the cache for all rows of `X`. That costs a read of `W` and the transposition,
//! little where `X` has some dozens of rows.

use std::ops::Range;

use rayon::prelude::*;

use crate::cpu::{Capabilities, capabilities};
use crate::format::{BLOCK, Format, LANES};
use crate::kernels::{self, Job, scratch, transpose};
use crate::matrix::{PARALLEL_FROM, PackedMatrix, Shared};
use crate::operand::Operand;

/// Panels of `Wᵀ` that are put together at a time: as many as the kernel of bf16 multiplies at once.
const TOGETHER: usize = 4;

impl PackedMatrix {
    /// Computes `out = X W`, `[rows, k]`, on as many of rayon's threads as pays. The operand has `n` inputs, and the
    /// kind that [`PackedMatrix::operand_kind`] names. Weights must be `F32` or `Bf16`.
    ///
    /// # Panics
    /// If `out` does not have `rows · k` elements, and as [`PackedMatrix::multiply_transposed_panels`] does.
    pub fn multiply_transposed(&self, x: &Operand, out: &mut [f32]) {
        assert_eq!(
            Some(out.len()),
            x.rows().checked_mul(self.k()),
            "a product of {} rows with {} inputs",
            x.rows(),
            self.k()
        );
        let start = Shared(out.as_mut_ptr());
        let start = &start;
        let one = |columns: Range<usize>| {
            // SAFETY: `out` has `rows` rows of `k`, and the columns do not overlap.
            unsafe {
                self.multiply_transposed_panels(x, 0..self.panels(), columns, start.0, self.k());
            }
        };
        let work = out.len().saturating_mul(self.n());
        if work < PARALLEL_FROM || rayon::current_num_threads() == 1 {
            one(0..self.columns());
        } else {
            self.column_parts().into_par_iter().for_each(one);
        }
    }

    /// All groups of inputs, in parts of which rayon's threads can take the same number of groups.
    pub fn column_parts(&self) -> Vec<Range<usize>> {
        let columns = self.columns();
        let share = columns.div_ceil(rayon::current_num_threads());
        let share = share.next_multiple_of(2);
        let shares = (0..columns)
            .step_by(share)
            .map(|at| at..(at + share).min(columns));
        let parts = |share: Range<usize>| {
            let end = share.end;
            share
                .step_by(TOGETHER)
                .map(move |at| at..(at + TOGETHER).min(end))
        };
        shares.flat_map(parts).collect()
    }

    /// Groups of 16 inputs, the last one perhaps smaller.
    pub fn columns(&self) -> usize {
        self.k().div_ceil(LANES)
    }

    /// Computes some columns of `X W` for all rows of `x`, in this thread: of the matrix's outputs, those of `panels`
    /// are summed over; of its inputs, those of the groups `columns` are computed. The sum for row `r` and input `c` goes
    /// to `out[r · stride + c]`.
    ///
    /// # Safety
    /// From `out` on, the places of these columns must be valid in each of the rows, `stride` elements apart, and nobody
    /// else may read or write them meanwhile. Nothing else is touched: `out` may lie before the memory that holds them.
    ///
    /// # Panics
    /// If the operand does not have one input for each output of `panels`, if there are no such panels or columns, or if
    /// the weights are quantised.
    pub unsafe fn multiply_transposed_panels(
        &self,
        x: &Operand,
        panels: Range<usize>,
        columns: Range<usize>,
        out: *mut f32,
        stride: usize,
    ) {
        // SAFETY: the caller's promise; the capabilities are this CPU's.
        unsafe { self.transposed_for(capabilities(), x, panels, columns, out, stride) }
    }

    /// # Safety
    /// As for [`PackedMatrix::multiply_transposed_panels`], and the CPU must have `capabilities`.
    pub(crate) unsafe fn transposed_for(
        &self,
        capabilities: Capabilities,
        x: &Operand,
        panels: Range<usize>,
        columns: Range<usize>,
        out: *mut f32,
        stride: usize,
    ) {
        let format = self.format();
        assert!(!format.is_quantised(), "a transposed product of {format}");
        assert!(
            panels.end <= self.panels() && columns.end <= self.columns(),
            "the matrix has {} panels and {} columns",
            self.panels(),
            self.columns()
        );
        let outputs = (panels.end * LANES).min(self.n()) - (panels.start * LANES).min(self.n());
        assert_eq!(
            x.k(),
            outputs,
            "inputs of the operand, expected the panels' outputs"
        );
        self.check_kind(x);
        let Some(panel_bytes) = format.panel_bytes(outputs) else {
            return;
        };
        if x.rows() == 0 || outputs == 0 {
            return;
        }
        for first in columns.clone().step_by(TOGETHER) {
            let count = TOGETHER.min(columns.end - first);
            scratch::with(count * panel_bytes, |room| {
                // SAFETY: `room` is this thread's, with room for the panels; the rest is the caller's promise.
                unsafe {
                    for i in 0..count {
                        let to = room.add(i * panel_bytes);
                        self.gather(capabilities, panels.clone(), first + i, outputs, to);
                    }
                    let job = Job {
                        format,
                        weights: room,
                        panel_bytes,
                        n: (count * LANES).min(self.k() - first * LANES),
                        k: outputs,
                        x,
                        first: 0,
                        last: count,
                        // `out` itself may lie before the caller's memory.
                        out: out.wrapping_add(first * LANES),
                        stride,
                    };
                    kernels::run(capabilities, &job);
                }
            });
        }
    }

    /// One panel of `Wᵀ`: 16 inputs of the matrix, all outputs of `panels`.
    ///
    /// # Safety
    /// `to` must have room for the panel; the CPU must have `capabilities`.
    unsafe fn gather(
        &self,
        capabilities: Capabilities,
        panels: Range<usize>,
        column: usize,
        outputs: usize,
        to: *mut u8,
    ) {
        let (k, end) = (column * LANES, self.k());
        // Bytes of a block of 16 outputs in either panel, and of 16 inputs.
        let block = LANES * LANES * if self.format() == Format::F32 { 4 } else { 2 };
        let whole = self.format() == Format::Bf16 || k + LANES <= end;
        for (i, p) in panels.clone().enumerate() {
            let rows = LANES.min(outputs - i * LANES);
            // SAFETY: a panel of bf16 is padded to 32 inputs here and to 32 outputs there; one of f32 is not, and a
            // block at its edge goes by way of the stack.
            unsafe {
                let from = self.panel(p).as_ptr().add(column * block);
                let to = to.add(i * block);
                match self.format() {
                    Format::F32 if whole && rows == LANES => {
                        transpose::words(capabilities, from.cast(), to.cast());
                    }
                    Format::F32 => {
                        let inputs = LANES.min(end - k);
                        transpose::edge(from.cast(), inputs, to.cast(), rows);
                    }
                    _ => transpose::pairs(capabilities, from.cast(), to.cast()),
                }
            }
        }
        if self.format() == Format::Bf16 {
            let written = panels.len() * block;
            let padded = outputs.next_multiple_of(BLOCK) * LANES * 2;
            // SAFETY: the panel has `padded` bytes.
            unsafe { to.add(written).write_bytes(0, padded - written) };
        }
    }
}
