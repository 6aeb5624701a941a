//! Products with the transpose of a packed matrix, `Y = X W`, without a second copy of it.
//!
//! Some panels of `Wᵀ` at a time are put together in a thread's own memory, in blocks of 16 × 16, and multiplied as a
//! packed matrix is: they stay in the cache for all rows of `X`. That costs a read of `W` and the transposition,
//! little where `X` has some dozens of rows. Quantised weights become floats on the way, so they are never kept as such.

use std::ops::Range;

use rayon::prelude::*;

use crate::cpu::{Capabilities, capabilities};
use crate::format::{BLOCK, Format, LANES, OperandKind};
use crate::kernels::unpack::Unpacked;
use crate::kernels::{self, Job, scratch, transpose};
use crate::matrix::{PARALLEL_FROM, PackedMatrix, Shared};
use crate::operand::Operand;

/// Panels of `Wᵀ` that are put together at a time: as many as the kernel of bf16 multiplies at once.
const TOGETHER: usize = 4;

impl PackedMatrix {
    /// Computes `out = X W`, `[rows, k]`, on as many of rayon's threads as pays. The operand has `n` inputs, and the
    /// kind that [`PackedMatrix::operand_kind`] names for [`Arithmetic::Float`](crate::Arithmetic::Float), or `F32`. Quantised
    /// weights are what they are in [`PackedMatrix::multiply`] with such an operand.
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
    /// If the operand does not have one input for each output of `panels`, if it is of a kind that this format is not
    /// multiplied with or `Int8`, or if there are no such panels or columns.
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
        let format = self.turned_format(x.kind());
        let Some(panel_bytes) = format.panel_bytes(outputs) else {
            return;
        };
        if x.rows() == 0 || outputs == 0 {
            return;
        }
        for first in columns.clone().step_by(TOGETHER) {
            let count = TOGETHER.min(columns.end - first);
            scratch::with(count * panel_bytes, |room| {
                let turned = Turned {
                    format,
                    outputs,
                    room,
                    panel_bytes,
                };
                // SAFETY: `room` is this thread's, with room for the panels; the rest is the caller's promise.
                unsafe {
                    self.turn(capabilities, panels.clone(), first..first + count, turned);
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

    /// What panels of `Wᵀ` are stored as, to be multiplied with an operand of this kind.
    fn turned_format(&self, kind: OperandKind) -> Format {
        match (self.format().is_quantised(), kind) {
            (false, _) => self.format(),
            (true, OperandKind::F32) => Format::F32,
            (true, OperandKind::Bf16) => Format::Bf16,
            (true, OperandKind::Int8) => panic!("a transposed product with an operand of bytes"),
        }
    }

    /// Panels of `Wᵀ`: for each of `columns` 16 inputs of the matrix, all outputs of `panels`.
    ///
    /// # Safety
    /// There must be room for them; the CPU must have `capabilities`.
    unsafe fn turn(
        &self,
        capabilities: Capabilities,
        panels: Range<usize>,
        columns: Range<usize>,
        to: Turned,
    ) {
        let square = to.square_bytes();
        let mut unpacked = Unpacked::new();
        for (i, p) in panels.clone().enumerate() {
            let panel = self.panel(p);
            let rows = LANES.min(to.outputs - i * LANES);
            if !self.format().is_quantised() {
                for (place, column) in columns.clone().enumerate() {
                    let inputs = LANES.min(self.k() - column * LANES);
                    // SAFETY: the panel has this column.
                    unsafe {
                        let from = panel.as_ptr().add(column * square);
                        to.square(capabilities, (from, inputs), (place, i, rows));
                    }
                }
                continue;
            }
            // A block has the inputs of two columns, of which one may be another's.
            for b in columns.start / 2..columns.end.div_ceil(2) {
                // SAFETY: the panel has this block, and the block both columns; the CPU is the caller's promise.
                unsafe {
                    if to.format == Format::F32 {
                        unpacked.words(capabilities, self.format(), panel, b);
                    } else {
                        unpacked.pairs(capabilities, self.format(), panel, b);
                    }
                    for column in (2 * b).max(columns.start)..(2 * b + 2).min(columns.end) {
                        let from = unpacked.as_ptr().add(column % 2 * square);
                        let place = (column - columns.start, i, rows);
                        to.square(capabilities, (from, LANES), place);
                    }
                }
            }
        }
        // SAFETY: all squares have been written.
        unsafe { to.pad(columns.len(), panels.len()) };
    }
}

/// Where panels of `Wᵀ` are put together.
#[derive(Clone, Copy)]
struct Turned {
    /// `F32` or `Bf16`.
    format: Format,
    /// Inputs of these panels: outputs of the matrix.
    outputs: usize,
    room: *mut u8,
    panel_bytes: usize,
}

impl Turned {
    /// Bytes of 16 outputs times 16 inputs, in either order.
    fn square_bytes(self) -> usize {
        LANES * LANES * if self.format == Format::F32 { 4 } else { 2 }
    }

    /// Turns a square with so many inputs of the matrix into number `i` of panel `place`, of whose rows there are `rows`.
    ///
    /// # Safety
    /// `from` must be a square of a panel of this format, and there must be such a panel; the CPU must have `capabilities`.
    unsafe fn square(
        self,
        capabilities: Capabilities,
        (from, inputs): (*const u8, usize),
        (place, i, rows): (usize, usize, usize),
    ) {
        // SAFETY: the caller's promise. A panel of bf16 is padded to 32 inputs here and to 32 outputs there; one of f32
        // is not, and a square at its edge goes by way of the stack.
        unsafe {
            let to = self
                .room
                .add(place * self.panel_bytes + i * self.square_bytes());
            if self.format != Format::F32 {
                transpose::pairs(capabilities, from.cast(), to.cast());
            } else if inputs == LANES && rows == LANES {
                transpose::words(capabilities, from.cast(), to.cast());
            } else {
                transpose::edge(from.cast(), inputs, to.cast(), rows);
            }
        }
    }

    /// Fills panels of bf16 up with zeros.
    ///
    /// # Safety
    /// There must be so many panels, and so many squares written in each.
    unsafe fn pad(self, panels: usize, squares: usize) {
        if self.format != Format::Bf16 {
            return;
        }
        let written = squares * self.square_bytes();
        let padded = self.outputs.next_multiple_of(BLOCK) * LANES * 2;
        for place in 0..panels {
            // SAFETY: a panel has `padded` bytes.
            unsafe {
                let end = self.room.add(place * self.panel_bytes + written);
                end.write_bytes(0, padded - written);
            }
        }
    }
}
