//! The other side of a product: rows of activations, converted once for all matrices that use them.

use crate::cpu::{Capabilities, capabilities};
use crate::format::{BLOCK, LANES, OperandKind};
use crate::kernels::convert;
use crate::memory::Memory;

/// Bytes of one row's part of a bf16 tile: 32 inputs.
pub(crate) const TILE_ROW: usize = 2 * BLOCK;

/// Bytes of a bf16 tile: 16 rows.
pub(crate) const TILE: usize = 16 * TILE_ROW;

/// Bytes of a quantised block of activations: 32 levels and a [`BlockScale`].
pub(crate) const INT8_BLOCK: usize = BLOCK + size_of::<BlockScale>();

/// Rows of f32 that lie interleaved: as many as AVX2 multiplies at once.
pub(crate) const F32_GROUP: usize = 6;

/// What stands behind the 32 levels `q` of a quantised block of activations.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub(crate) struct BlockScale {
    /// What a level is worth.
    pub(crate) scale: f32,
    /// −128 Σq: where sums over weights stored as `w + 128` begin. Other offsets are powers of two too.
    pub(crate) minus_128: i32,
    /// −32 Σq over the first half: where sums over its weights begin, stored as `w + 32`.
    pub(crate) first_minus_32: i32,
    /// scale · Σq: what a minimum is multiplied with.
    pub(crate) scaled_sum: f32,
}

/// Rows of activations as a kernel wants them. A buffer to reuse: it grows and never shrinks.
///
/// - `F32`: groups of 6 rows, input by input, so that a kernel reads them as one stream.
/// - `Bf16`: tiles of 16 rows × 32 inputs, 1 KiB each, all tiles of 16 rows together; inputs are
///   padded with zeros to a multiple of 32.
/// - `Int8`: rows of blocks of 48 bytes, 32 levels and four numbers that the kernels need; padded
///   with zeros to 16 rows.
#[derive(Default)]
pub struct Operand {
    memory: Option<Memory>,
    kind: Option<OperandKind>,
    rows: usize,
    k: usize,
    stride: usize,
    capabilities: Option<Capabilities>,
}

impl std::fmt::Debug for Operand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Operand({:?}, {} x {})", self.kind(), self.rows, self.k)
    }
}

impl Operand {
    /// Makes room for `rows` rows of `k` inputs. Contents are undefined until the rows are filled.
    ///
    /// # Panics
    /// If the size does not fit into the address space or the system has no memory left.
    pub fn shape(&mut self, kind: OperandKind, rows: usize, k: usize) {
        self.shape_for(capabilities(), kind, rows, k);
    }

    pub(crate) fn shape_for(
        &mut self,
        capabilities: Capabilities,
        kind: OperandKind,
        rows: usize,
        k: usize,
    ) {
        let size = Self::size(kind, rows, k);
        let Some((stride, bytes)) = size else {
            panic!("an operand of {rows} x {k} is larger than the address space");
        };
        if self.memory.as_ref().is_none_or(|m| m.len() < bytes) {
            self.memory = None;
            let memory = Memory::new(bytes);
            assert!(
                memory.is_some(),
                "no memory for an operand of {bytes} bytes"
            );
            self.memory = memory;
        }
        (self.kind, self.rows, self.k) = (Some(kind), rows, k);
        self.stride = stride;
        if kind == OperandKind::Int8 {
            let used = rows * stride;
            // SAFETY: the memory holds `bytes` bytes, `used` of them for the rows.
            unsafe { self.base().add(used).write_bytes(0, bytes - used) };
        }
        self.capabilities = Some(capabilities);
    }

    /// Bytes from one group of rows to the next (6 of f32, 16 of bf16, 1 of bytes) and of the whole.
    fn size(kind: OperandKind, rows: usize, k: usize) -> Option<(usize, usize)> {
        let blocks = k.div_ceil(BLOCK);
        let (stride, count) = match kind {
            OperandKind::F32 => {
                let stride = k.checked_mul(4 * F32_GROUP)?;
                (
                    stride.checked_next_multiple_of(64)?,
                    rows.div_ceil(F32_GROUP),
                )
            }
            OperandKind::Bf16 => (blocks.checked_mul(TILE)?, rows.div_ceil(16)),
            OperandKind::Int8 => {
                let padded = rows.checked_next_multiple_of(16)?;
                (blocks.checked_mul(INT8_BLOCK)?, padded)
            }
        };
        Some((stride, stride.checked_mul(count)?))
    }

    /// [`Operand::shape`] and all rows: `x` is `[rows, k]`, row by row.
    ///
    /// # Panics
    /// If `x` does not have `rows · k` elements, and as [`Operand::shape`] does.
    pub fn fill(&mut self, kind: OperandKind, x: &[f32], rows: usize, k: usize) {
        self.fill_for(capabilities(), kind, x, rows, k);
    }

    pub(crate) fn fill_for(
        &mut self,
        capabilities: Capabilities,
        kind: OperandKind,
        x: &[f32],
        rows: usize,
        k: usize,
    ) {
        assert_eq!(
            Some(x.len()),
            rows.checked_mul(k),
            "an operand of {rows} x {k} needs as many elements"
        );
        self.shape_for(capabilities, kind, rows, k);
        for row in 0..rows {
            // SAFETY: shaped for `rows` rows, and `self` is borrowed mutably.
            unsafe { self.fill_row(row, &x[row * k..][..k]) };
        }
    }

    /// Converts row `row` from `x` (`k` floats). Different rows may be filled from different
    /// threads at once.
    ///
    /// # Safety
    /// [`Operand::shape`] was called with more than `row` rows; no two threads fill one row at the
    /// same time, and nobody multiplies meanwhile.
    ///
    /// # Panics
    /// If `x` does not have `k` elements.
    pub unsafe fn fill_row(&self, row: usize, x: &[f32]) {
        assert_eq!(
            x.len(),
            self.k,
            "a row of the operand has {} elements",
            self.k
        );
        debug_assert!(row < self.rows);
        let (Some(kind), Some(capabilities)) = (self.kind, self.capabilities) else {
            return;
        };
        let base = self.base();
        // SAFETY: `row` lies within the shape by the caller's promise, so the row's bytes lie
        // within the memory, and nobody else touches them.
        unsafe {
            match kind {
                OperandKind::F32 => {
                    let to = base.add(row / F32_GROUP * self.stride).cast::<f32>();
                    let to = to.add(row % F32_GROUP);
                    for (i, x) in x.iter().enumerate() {
                        to.add(i * F32_GROUP).write(*x);
                    }
                }
                OperandKind::Bf16 => {
                    let to = base.add(row / 16 * self.stride + row % 16 * TILE_ROW);
                    convert::to_bf16(capabilities, x, to, TILE);
                }
                OperandKind::Int8 => {
                    convert::to_int8(capabilities, x, base.add(row * self.stride));
                }
            }
        }
    }

    /// Rows that it holds.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs in a row.
    pub fn k(&self) -> usize {
        self.k
    }

    /// What the rows are stored as; `F32` before anything was.
    pub fn kind(&self) -> OperandKind {
        self.kind.unwrap_or(OperandKind::F32)
    }

    /// The first byte. Dangling, but never read, before the operand has a shape.
    pub(crate) fn base(&self) -> *mut u8 {
        self.memory
            .as_ref()
            .map_or(std::ptr::dangling_mut::<[u64; 8]>().cast(), Memory::as_ptr)
    }

    /// Bytes from one group of rows to the next: 6 rows of f32, 16 of bf16, 1 of bytes.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }
}

const _: () = assert!(LANES == 16 && INT8_BLOCK == 48);
