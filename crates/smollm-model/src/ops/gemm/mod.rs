//! f32 matrix products over strided slices, in one fixed order of summation.
//!
//! Two forms cover everything that a transformer needs, forward and backward, without packing:
//!
//! - [`dot`]: `out[i, j] = Σ_p x[i, p] · w[j, p]` — both operands are contiguous along the reduction
//!   (`Y = X Wᵀ`, `S = Q Kᵀ`). Lanes run along `p`.
//! - [`outer`]: `out[i, j] (+)= Σ_p a(i, p) · w[p, j]` — the right operand is contiguous along the
//!   output (`dX = dY W`, `O = P V`); the left one may be strided, so transposed products
//!   (`dA = dUᵀ X`) need no copy. Lanes run along `j`.
//!
//! Each output element is a chain of fused multiply-adds over `p` (in [`outer`] one chain for each
//! 256 terms, the chains then added), in an order that depends on `p` alone: not on the number of rows, on the tile that the row falls into, or on the number of
//! threads. A row's result is therefore bit-identical alone and in any batch. (The `gemm` crate
//! that candle uses takes another code path for one row.)
//!
//! `w` may be stored as bf16; it is widened in registers and all arithmetic is f32.

mod dot;
mod outer;

use rayon::prelude::*;

pub(crate) use dot::dot;
pub(crate) use outer::{Write, outer};

/// Output columns of one parallel task: with 1,536 inputs its weights (390 KB) stay in L2.
const TASK_COLS: usize = 64;
/// Output rows of one parallel task.
const TASK_ROWS: usize = 96;
/// Below this many multiply-adds a product runs on the calling thread.
const PARALLEL_FROM: usize = 1 << 17;

/// A row-major matrix view: element `(i, p)` is `data[i * row + p * col]`.
#[derive(Clone, Copy)]
pub(crate) struct Strided<'a> {
    data: &'a [f32],
    row: usize,
    col: usize,
}

impl<'a> Strided<'a> {
    /// Rows of `stride` elements, read along the row.
    pub(crate) fn rows(data: &'a [f32], stride: usize) -> Self {
        Self {
            data,
            row: stride,
            col: 1,
        }
    }

    /// The transpose of a matrix whose rows are `stride` elements apart.
    pub(crate) fn transposed(data: &'a [f32], stride: usize) -> Self {
        Self {
            data,
            row: 1,
            col: stride,
        }
    }

    fn covers(&self, m: usize, n: usize) -> bool {
        m == 0 || n == 0 || (m - 1) * self.row + (n - 1) * self.col < self.data.len()
    }
}

/// A mutable output whose disjoint tiles are written by several threads.
#[derive(Clone, Copy)]
struct Out {
    ptr: *mut f32,
    stride: usize,
}
// SAFETY: tasks write disjoint tiles of the slice that `Out` was made from, which outlives them.
unsafe impl Send for Out {}
// SAFETY: as above.
unsafe impl Sync for Out {}

impl Out {
    /// The address of element `(i, j)`, which must lie inside the slice that `Out` was made from.
    fn at(&self, i: usize, j: usize) -> *mut f32 {
        self.ptr.wrapping_add(i * self.stride + j)
    }
}

fn covers(len: usize, rows: usize, stride: usize, cols: usize) -> bool {
    rows == 0 || cols == 0 || (rows - 1) * stride + cols <= len
}

/// Where a product runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    /// On rayon's pool when it is large enough to pay.
    Pool,
    /// On the calling thread, which is itself one of several tasks.
    Caller,
}

/// Splits the output into tasks and runs them.
fn for_each_block(
    threads: Threads,
    Dims { m, n, k }: Dims,
    run: impl Fn(std::ops::Range<usize>, std::ops::Range<usize>) + Sync,
) {
    if threads == Threads::Caller || m * n * k < PARALLEL_FROM {
        for i in (0..m).step_by(TASK_ROWS) {
            for j in (0..n).step_by(TASK_COLS) {
                run(i..(i + TASK_ROWS).min(m), j..(j + TASK_COLS).min(n));
            }
        }
        return;
    }
    let cols = n.div_ceil(TASK_COLS);
    (0..m.div_ceil(TASK_ROWS) * cols)
        .into_par_iter()
        .for_each(|task| {
            let (i, j) = (task / cols * TASK_ROWS, task % cols * TASK_COLS);
            run(i..(i + TASK_ROWS).min(m), j..(j + TASK_COLS).min(n));
        });
}

/// The extents of a product: `m × n` outputs, each a sum over `k` terms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dims {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
}
