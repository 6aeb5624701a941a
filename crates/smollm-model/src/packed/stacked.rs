//! Several weights with one input, multiplied as if they were one.

use cpu_gemm::{Arithmetic, Operand, OperandKind, PackedMatrix};

use super::team::Worker;

/// Weights `[n_i, k]` whose outputs stand side by side: q, k and v; gate and up.
#[derive(Clone, Debug)]
pub(super) struct Stacked {
    parts: Vec<PackedMatrix>,
    n: usize,
}

impl Stacked {
    /// All parts take the same kind of operand in both arithmetics; the loader sees to that.
    pub(super) fn new(parts: Vec<PackedMatrix>) -> Self {
        let n = parts.iter().map(PackedMatrix::n).sum();
        Self { parts, n }
    }

    /// One of the weights.
    ///
    /// # Panics
    /// If there are not so many.
    pub(super) fn part(&self, index: usize) -> &PackedMatrix {
        &self.parts[index]
    }

    /// Outputs of all parts.
    pub(super) fn n(&self) -> usize {
        self.n
    }

    /// Bytes of all parts.
    pub(super) fn bytes(&self) -> usize {
        self.parts.iter().map(PackedMatrix::bytes).sum()
    }

    /// Inputs.
    pub(super) fn k(&self) -> usize {
        self.parts[0].k()
    }

    pub(super) fn operand_kind(&self, arithmetic: Arithmetic) -> OperandKind {
        self.parts[0].operand_kind(arithmetic)
    }

    /// This worker's part of `out = x · Wᵀ`, `out: [rows, n]`.
    ///
    /// # Safety
    /// `out` is valid for `x.rows()` rows of `n`, and all workers of a team call this with the same arguments and
    /// otherwise leave `out` alone until they meet.
    pub(super) unsafe fn multiply(&self, worker: Worker<'_>, x: &Operand, out: *mut f32) {
        let mut column = 0;
        for part in &self.parts {
            // Pairs of panels are what the kernels work on at a time.
            let panels = worker.share(part.panels(), 2);
            if !panels.is_empty() {
                // SAFETY: the columns of this part stand at `column`, and no other worker has these panels.
                unsafe { part.multiply_panels(x, panels, out.add(column), self.n) };
            }
            column += part.n();
        }
    }
}
