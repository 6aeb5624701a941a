//! The products themselves: plain Rust first, then each instruction set.

pub(crate) mod block;
pub(crate) mod convert;
mod float;
mod integer;
pub(crate) mod scratch;
pub(crate) mod transpose;
pub(crate) mod unpack;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

use std::ops::Range;

use crate::cpu::Capabilities;
use crate::format::{Format, LANES, OperandKind};
use crate::operand::Operand;

/// Columns of some panels for all rows of an operand: what every kernel is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Job<'a> {
    pub(crate) format: Format,
    /// Bytes of panel 0 and of each panel.
    pub(crate) weights: *const u8,
    pub(crate) panel_bytes: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) x: &'a Operand,
    /// Panels to compute.
    pub(crate) first: usize,
    pub(crate) last: usize,
    /// `[rows, stride]`, column 0 first.
    pub(crate) out: *mut f32,
    pub(crate) stride: usize,
}

impl Job<'_> {
    pub(crate) fn panels(&self) -> Range<usize> {
        self.first..self.last
    }

    pub(crate) fn rows(&self) -> usize {
        self.x.rows()
    }

    /// The bytes of panel `p`.
    pub(crate) fn panel(&self, p: usize) -> &[u8] {
        debug_assert!(p * LANES < self.n);
        // SAFETY: a job is made for a packed matrix, which has panels for all `n` outputs, all
        // their bytes written; `p` is one of them.
        unsafe {
            std::slice::from_raw_parts(self.weights.add(p * self.panel_bytes), self.panel_bytes)
        }
    }

    /// How many outputs of panel `p` are not padding.
    pub(crate) fn columns(&self, p: usize) -> usize {
        LANES.min(self.n - p * LANES)
    }

    /// Writes a row's results for panel `p`.
    ///
    /// # Safety
    /// `row` and `p` must be part of the job.
    pub(crate) unsafe fn store(&self, row: usize, p: usize, values: &[f32; LANES]) {
        // SAFETY: whoever made the job promised that its part of `out` is valid and ours alone.
        unsafe {
            let to = self.out.add(row * self.stride + p * LANES);
            std::ptr::copy_nonoverlapping(values.as_ptr(), to, self.columns(p));
        }
    }
}

/// Runs a job with the best kernel.
///
/// # Safety
/// The job's pointers must be valid as its fields say, `out` written by nobody else, and
/// `capabilities` no more than what this CPU has.
pub(crate) unsafe fn run(capabilities: Capabilities, job: &Job) {
    // SAFETY: the caller's promise.
    unsafe {
        match job.x.kind() {
            OperandKind::F32 | OperandKind::Bf16 => float::run(capabilities, job),
            OperandKind::Int8 => integer::run(capabilities, job),
        }
    }
}
