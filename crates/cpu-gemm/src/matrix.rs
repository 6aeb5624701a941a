//! A frozen matrix, packed once.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use half::bf16;
use rayon::prelude::*;

use crate::cpu::{Capabilities, capabilities};
use crate::error::GemmError;
use crate::format::{Arithmetic, Format, LANES, OperandKind};
use crate::kernels::{self, Job, block};
use crate::memory::Memory;
use crate::operand::Operand;
use crate::pack::{RowBytes, pack};
use crate::quantise::quantise_row;

/// Products smaller than this many multiplications are not worth waking another thread.
pub(crate) const PARALLEL_FROM: usize = 1 << 18;

/// A matrix `W` of `n` outputs × `k` inputs for products `Y = X Wᵀ`. Cloning it copies nothing.
#[derive(Clone)]
pub struct PackedMatrix {
    memory: Arc<Memory>,
    format: Format,
    n: usize,
    k: usize,
    panel_bytes: usize,
}

impl fmt::Debug for PackedMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackedMatrix({} x {}, {})", self.n, self.k, self.format)
    }
}

impl PackedMatrix {
    /// Packs `rows`, `[n, k]` row by row; blocks of 32 are quantised as ggml does it.
    ///
    /// # Errors
    /// If the shape has no elements, is not whole blocks, or is not that of `rows`; if there is no
    /// quantiser for `format`; if there is no memory left.
    pub fn from_f32(rows: &[f32], n: usize, k: usize, format: Format) -> Result<Self, GemmError> {
        check_elements(rows.len(), n, k, format)?;
        Self::build(format, n, k, &|i, out| {
            let row = &rows[i * k..][..k];
            match format {
                Format::F32 => row.iter().for_each(|x| out.extend(x.to_le_bytes())),
                Format::Bf16 => {
                    out.extend(row.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()));
                }
                _ => quantise_row(format, row, out),
            }
        })
    }

    /// As [`PackedMatrix::from_f32`]; to `Bf16` and `F32` nothing is rounded.
    ///
    /// # Errors
    /// As for [`PackedMatrix::from_f32`].
    pub fn from_bf16(rows: &[bf16], n: usize, k: usize, format: Format) -> Result<Self, GemmError> {
        check_elements(rows.len(), n, k, format)?;
        Self::build(format, n, k, &|i, out| {
            let row = &rows[i * k..][..k];
            if format == Format::Bf16 {
                out.extend(row.iter().flat_map(|x| x.to_le_bytes()));
                return;
            }
            let wide = row.iter().map(|x| x.to_f32());
            if format == Format::F32 {
                wide.for_each(|x| out.extend(x.to_le_bytes()));
            } else {
                quantise_row(format, &wide.collect::<Vec<_>>(), out);
            }
        })
    }

    /// Packs ggml's blocks as they stand in a GGUF file, without quantising again. Row `i` of the
    /// result is row `source_row(i)` of the file.
    ///
    /// # Errors
    /// If the shape has no elements, is not whole blocks, or is not that of `bytes`; if
    /// `source_row` gives a row that the file does not have; if there is no memory left.
    pub fn from_ggml(
        format: Format,
        bytes: &[u8],
        n: usize,
        k: usize,
        source_row: &(dyn Fn(usize) -> usize + Sync),
    ) -> Result<Self, GemmError> {
        check_shape(n, k, format)?;
        let too_large = GemmError::TooLarge { format, n, k };
        let row_bytes = format.row_bytes(k).ok_or(too_large.clone())?;
        let expected = row_bytes.checked_mul(n).ok_or(too_large)?;
        check_length("bytes", bytes.len(), expected, n, k, format)?;
        let rows: Vec<usize> = (0..n).map(source_row).collect();
        if let Some(row) = rows.iter().position(|r| *r >= n) {
            let source_row = rows[row];
            return Err(GemmError::SourceRow { row, source_row, n });
        }
        Self::build(format, n, k, &|i, out| {
            out.extend_from_slice(&bytes[rows[i] * row_bytes..][..row_bytes]);
        })
    }

    /// Shapes were checked; `row` gives rows as they stand in a file.
    fn build(format: Format, n: usize, k: usize, row: RowBytes) -> Result<Self, GemmError> {
        let too_large = GemmError::TooLarge { format, n, k };
        let panel_bytes = format.panel_bytes(k).ok_or(too_large.clone())?;
        let panels = n.div_ceil(LANES);
        let bytes = panels.checked_mul(panel_bytes).ok_or(too_large)?;
        let memory = Memory::new(bytes).ok_or(GemmError::OutOfMemory { bytes })?;
        pack(format, n, row, &memory, panel_bytes);
        Ok(Self {
            memory: Arc::new(memory),
            format,
            n,
            k,
            panel_bytes,
        })
    }

    /// Stacks matrices of one format and `k`, so that several products of one operand become one.
    /// All but the last need a multiple of 16 rows.
    ///
    /// # Errors
    /// If there are none, if they do not fit onto each other, or if there is no memory left.
    pub fn stack(parts: Vec<PackedMatrix>) -> Result<Self, GemmError> {
        let first = parts.first().ok_or(GemmError::NothingToStack)?.clone();
        for (index, part) in parts.iter().enumerate() {
            let last = index + 1 == parts.len();
            let fits = part.format == first.format && part.k == first.k;
            if !fits || !(last || part.n.is_multiple_of(LANES)) {
                return Err(GemmError::Stack {
                    index,
                    n: part.n,
                    k: part.k,
                    format: part.format,
                    expected_k: first.k,
                    expected_format: first.format,
                });
            }
        }
        let bytes = parts.iter().map(PackedMatrix::bytes).sum();
        let memory = Memory::new(bytes).ok_or(GemmError::OutOfMemory { bytes })?;
        let (mut n, mut at) = (0, 0);
        for part in parts {
            // SAFETY: both are valid for the part's bytes, and `memory` is new.
            unsafe {
                let to = memory.as_ptr().add(at);
                std::ptr::copy_nonoverlapping(part.memory.as_ptr(), to, part.bytes());
            }
            at += part.bytes();
            n += part.n;
        }
        let memory = Arc::new(memory);
        Ok(Self { memory, n, ..first })
    }

    /// Outputs.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Inputs.
    pub fn k(&self) -> usize {
        self.k
    }

    /// How the weights are stored.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Groups of 16 outputs, the last one perhaps smaller.
    pub fn panels(&self) -> usize {
        self.n.div_ceil(LANES)
    }

    /// Memory of so many packed weights; the largest number where it cannot be counted.
    pub fn size(format: Format, n: usize, k: usize) -> usize {
        let panels = n.div_ceil(LANES);
        let bytes = format.panel_bytes(k);
        bytes.map_or(usize::MAX, |bytes| bytes.saturating_mul(panels))
    }

    /// Memory of the packed weights.
    pub fn bytes(&self) -> usize {
        self.panels() * self.panel_bytes
    }

    /// Row `i`, dequantised.
    ///
    /// # Panics
    /// If there is no such row, or `out` does not have `k` elements.
    pub fn row(&self, i: usize, out: &mut [f32]) {
        assert!(i < self.n, "row {i} of a matrix with {} rows", self.n);
        assert_eq!(out.len(), self.k, "a row has {} elements", self.k);
        block::row(self.format, self.panel(i / LANES), i % LANES, out);
    }

    pub(crate) fn panel(&self, p: usize) -> &[u8] {
        // SAFETY: `p` is one of the panels, all of whose bytes were written when it was packed.
        unsafe {
            let at = self.memory.as_ptr().add(p * self.panel_bytes);
            std::slice::from_raw_parts(at, self.panel_bytes)
        }
    }

    /// What an operand must be turned into for this matrix on this machine.
    pub fn operand_kind(&self, arithmetic: Arithmetic) -> OperandKind {
        self.operand_kind_for(capabilities(), arithmetic)
    }

    pub(crate) fn operand_kind_for(
        &self,
        capabilities: Capabilities,
        arithmetic: Arithmetic,
    ) -> OperandKind {
        if self.format == Format::F32 {
            OperandKind::F32
        } else if self.format.is_quantised() && arithmetic == Arithmetic::Integer {
            OperandKind::Int8
        } else if capabilities.bf16() {
            OperandKind::Bf16
        } else {
            OperandKind::F32
        }
    }

    /// Computes the columns of `panels` for all rows of `x`, in this thread: the product of row
    /// `r` with output `c` goes to `out[r · stride + c]`.
    ///
    /// # Safety
    /// `out` must be valid for all rows, `stride` elements each but `n` for the last, and nobody
    /// else may read or write these columns meanwhile.
    ///
    /// # Panics
    /// If `x` does not have `k` inputs, is of a kind that this format is not multiplied with, or if
    /// there are no such panels.
    pub unsafe fn multiply_panels(
        &self,
        x: &Operand,
        panels: Range<usize>,
        out: *mut f32,
        stride: usize,
    ) {
        // SAFETY: the caller's promise; the capabilities are this CPU's.
        unsafe { self.multiply_for(capabilities(), x, panels, out, stride) }
    }

    /// # Safety
    /// As for [`PackedMatrix::multiply_panels`], and the CPU must have `capabilities`.
    pub(crate) unsafe fn multiply_for(
        &self,
        capabilities: Capabilities,
        x: &Operand,
        panels: Range<usize>,
        out: *mut f32,
        stride: usize,
    ) {
        assert_eq!(
            x.k(),
            self.k,
            "inputs of the operand, expected the matrix's"
        );
        assert!(
            panels.end <= self.panels(),
            "the matrix has {} panels",
            self.panels()
        );
        self.check_kind(x);
        if panels.is_empty() || x.rows() == 0 {
            return;
        }
        let job = Job {
            format: self.format,
            weights: self.memory.as_ptr(),
            panel_bytes: self.panel_bytes,
            n: self.n,
            k: self.k,
            x,
            first: panels.start,
            last: panels.end,
            out,
            stride,
        };
        // SAFETY: the matrix's pointers are valid for its panels, the rest is the caller's promise.
        unsafe { kernels::run(capabilities, &job) }
    }

    /// # Panics
    /// If the operand is of a kind that this format is not multiplied with.
    pub(crate) fn check_kind(&self, x: &Operand) {
        let fits = match x.kind() {
            OperandKind::F32 => true,
            OperandKind::Bf16 => self.format != Format::F32,
            OperandKind::Int8 => self.format.is_quantised(),
        };
        assert!(
            fits,
            "{} weights and an operand of {:?}",
            self.format,
            x.kind()
        );
    }

    /// Computes `out`, `[rows, n]`, on as many of rayon's threads as pays.
    ///
    /// # Panics
    /// If `out` does not have `rows · n` elements, and as [`PackedMatrix::multiply_panels`] does.
    pub fn multiply(&self, x: &Operand, out: &mut [f32]) {
        assert_eq!(
            Some(out.len()),
            x.rows().checked_mul(self.n),
            "a product of {} rows with {} outputs",
            x.rows(),
            self.n
        );
        let (panels, start) = (self.panels(), Shared(out.as_mut_ptr()));
        let work = out.len().saturating_mul(self.k);
        let threads = rayon::current_num_threads();
        let parts = if work < PARALLEL_FROM {
            1
        } else {
            panels.min(4 * threads)
        };
        let start = &start;
        let part = |i: usize| {
            let range = panels * i / parts..panels * (i + 1) / parts;
            // SAFETY: `out` has `rows` rows of `n`, and the ranges do not overlap.
            unsafe { self.multiply_panels(x, range, start.0, self.n) };
        };
        if parts == 1 || threads == 1 {
            (0..parts).for_each(part);
        } else {
            (0..parts).into_par_iter().for_each(part);
        }
    }
}

/// A pointer to results of which each thread writes its own columns.
pub(crate) struct Shared(pub(crate) *mut f32);
// SAFETY: see `PackedMatrix::multiply` and `PackedMatrix::multiply_transposed`.
unsafe impl Sync for Shared {}

fn check_shape(n: usize, k: usize, format: Format) -> Result<(), GemmError> {
    if n == 0 || k == 0 {
        return Err(GemmError::Empty { n, k });
    }
    let multiple = format.block_inputs();
    if !k.is_multiple_of(multiple) {
        return Err(GemmError::Blocks {
            format,
            k,
            multiple,
        });
    }
    Ok(())
}

fn check_elements(found: usize, n: usize, k: usize, format: Format) -> Result<(), GemmError> {
    check_shape(n, k, format)?;
    if !format.has_quantiser() {
        return Err(GemmError::CannotQuantise { format });
    }
    let expected = n
        .checked_mul(k)
        .ok_or(GemmError::TooLarge { format, n, k })?;
    check_length("elements", found, expected, n, k, format)
}

fn check_length(
    unit: &'static str,
    found: usize,
    expected: usize,
    n: usize,
    k: usize,
    format: Format,
) -> Result<(), GemmError> {
    if found == expected {
        return Ok(());
    }
    Err(GemmError::Length {
        format,
        n,
        k,
        unit,
        expected,
        found,
    })
}
