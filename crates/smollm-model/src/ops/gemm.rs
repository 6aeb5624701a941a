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
//! Each output element is one chain of fused multiply-adds over `p`, in an order that depends on
//! `p` alone: not on the number of rows, on the tile that the row falls into, or on the number of
//! threads. A row's result is therefore bit-identical alone and in any batch. (The `gemm` crate
//! that candle uses takes another code path for one row.)
//!
//! `w` may be stored as bf16; it is widened in registers and all arithmetic is f32.

use rayon::prelude::*;

use crate::simd::{Element, Kernel, Simd, dispatch};

/// Output columns of one parallel task: with 1,536 inputs its weights (390 KB) stay in L2.
const TASK_COLS: usize = 64;
/// Output rows of one parallel task.
const TASK_ROWS: usize = 96;
/// Reduction block of [`outer`]: keeps the strip of `w` that a task reads in L1/L2.
const REDUCTION_BLOCK: usize = 256;
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

/// `out[i, j] = Σ_p x[i, p] · w[j, p]`, for `x` with rows `ldx` apart, `w` with rows `ldw` apart and
/// `out` with rows `ldo` apart.
///
/// # Panics
/// If a slice is shorter than its extents need: the ops check shapes before they call.
pub(crate) fn dot<E: Element>(
    threads: Threads,
    dims: Dims,
    (x, ldx): (&[f32], usize),
    (w, ldw): (&[E], usize),
    (out, ldo): (&mut [f32], usize),
) {
    let Dims { m, n, k } = dims;
    assert!(
        covers(x.len(), m, ldx, k) && covers(w.len(), n, ldw, k),
        "dot: short operand"
    );
    assert!(covers(out.len(), m, ldo, n), "dot: short output");
    let out = Out {
        ptr: out.as_mut_ptr(),
        stride: ldo,
    };
    for_each_block(threads, dims, |rows, cols| {
        let out = out;
        dispatch(DotBlock {
            x: x[(rows.start * ldx).min(x.len())..].as_ptr(),
            ldx,
            w: w[(cols.start * ldw).min(w.len())..].as_ptr(),
            ldw,
            // SAFETY: inside `out` by the assertion above.
            out: unsafe { out.ptr.add(rows.start * out.stride + cols.start) },
            ldo: out.stride,
            dims: Dims {
                m: rows.len(),
                n: cols.len(),
                k,
            },
        });
    });
}

#[derive(Clone)]
struct DotBlock<E> {
    x: *const f32,
    ldx: usize,
    w: *const E,
    ldw: usize,
    out: *mut f32,
    ldo: usize,
    dims: Dims,
}

impl<E: Element> Kernel for DotBlock<E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let tall = if S::LANES == 16 { 6 } else { 3 };
        let mut i = 0;
        while i < self.dims.m {
            let rows = (self.dims.m - i).min(tall);
            // SAFETY: rows `i..i + rows` lie inside the block that `dot` has checked.
            unsafe {
                match rows {
                    1 => self.rows::<S, 1>(i),
                    2 => self.rows::<S, 2>(i),
                    3 => self.rows::<S, 3>(i),
                    4 => self.rows::<S, 4>(i),
                    5 => self.rows::<S, 5>(i),
                    _ => self.rows::<S, 6>(i),
                }
            }
            i += rows;
        }
    }
}

impl<E: Element> DotBlock<E> {
    /// All columns for `MR` rows from row `i`.
    #[inline(always)]
    unsafe fn rows<S: Simd, const MR: usize>(&self, i: usize) {
        let n = self.dims.n;
        let mut j = 0;
        while j + 4 <= n {
            // SAFETY: `j + 4 <= n`.
            unsafe { self.tile::<S, MR, 4>(i, j) };
            j += 4;
        }
        while j < n {
            // SAFETY: `j < n`.
            unsafe { self.tile::<S, MR, 1>(i, j) };
            j += 1;
        }
    }

    #[inline(always)]
    unsafe fn tile<S: Simd, const MR: usize, const NR: usize>(&self, i: usize, j: usize) {
        // SAFETY: rows `i..i + MR` of `x`, `j..j + NR` of `w` and that tile of `out` are in bounds
        // by the callers; `p + LANES <= k` in the loop, and the tail reads `k - p` elements.
        unsafe {
            let (x, w) = (self.x.add(i * self.ldx), self.w.add(j * self.ldw));
            let k = self.dims.k;
            let mut acc = [[S::zero(); NR]; MR];
            let mut p = 0;
            while p + S::LANES <= k {
                let wv: [S::V; NR] = std::array::from_fn(|c| E::load::<S>(w.add(c * self.ldw + p)));
                for (r, acc) in acc.iter_mut().enumerate() {
                    let xv = S::load(x.add(r * self.ldx + p));
                    for c in 0..NR {
                        acc[c] = S::fma(xv, wv[c], acc[c]);
                    }
                }
                p += S::LANES;
            }
            if p < k {
                let rest = k - p;
                for (r, acc) in acc.iter_mut().enumerate() {
                    let xv = S::load_n(x.add(r * self.ldx + p), rest);
                    for (c, acc) in acc.iter_mut().enumerate() {
                        *acc = S::fma(xv, E::load_n::<S>(w.add(c * self.ldw + p), rest), *acc);
                    }
                }
            }
            for (r, acc) in acc.iter().enumerate() {
                for (c, acc) in acc.iter().enumerate() {
                    *self.out.add((i + r) * self.ldo + j + c) = S::sum(*acc);
                }
            }
        }
    }
}

/// What [`outer`] does with the values that stand in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// Replace them.
    Set,
    /// Start each sum from them.
    Add,
}

/// `out[i, j] (+)= Σ_p a(i, p) · w[p, j]`, for `w` with rows `ldw` apart and `out` with rows `ldo`
/// apart.
///
/// # Panics
/// If a slice is shorter than its extents need: the ops check shapes before they call.
pub(crate) fn outer<E: Element>(
    threads: Threads,
    dims: Dims,
    a: Strided<'_>,
    (w, ldw): (&[E], usize),
    (out, ldo): (&mut [f32], usize),
    write: Write,
) {
    let Dims { m, n, k } = dims;
    assert!(
        a.covers(m, k) && covers(w.len(), k, ldw, n),
        "outer: short operand"
    );
    assert!(covers(out.len(), m, ldo, n), "outer: short output");
    let out = Out {
        ptr: out.as_mut_ptr(),
        stride: ldo,
    };
    for_each_block(threads, dims, |rows, cols| {
        let out = out;
        let mut block = OuterBlock {
            a: a.data[(rows.start * a.row).min(a.data.len())..].as_ptr(),
            row: a.row,
            col: a.col,
            w: w[cols.start.min(w.len())..].as_ptr(),
            ldw,
            // SAFETY: inside `out` by the assertion above.
            out: unsafe { out.ptr.add(rows.start * out.stride + cols.start) },
            ldo: out.stride,
            dims: Dims {
                m: rows.len(),
                n: cols.len(),
                k: k.min(REDUCTION_BLOCK),
            },
            write,
        };
        dispatch(block.clone());
        for p in (REDUCTION_BLOCK..k).step_by(REDUCTION_BLOCK) {
            // SAFETY: `p < k`, inside both operands by the assertions above.
            unsafe {
                block.a = block.a.add(REDUCTION_BLOCK * a.col);
                block.w = block.w.add(REDUCTION_BLOCK * ldw);
            }
            block.dims.k = (k - p).min(REDUCTION_BLOCK);
            block.write = Write::Add;
            dispatch(block.clone());
        }
    });
}

#[derive(Clone)]
struct OuterBlock<E> {
    a: *const f32,
    row: usize,
    col: usize,
    w: *const E,
    ldw: usize,
    out: *mut f32,
    ldo: usize,
    dims: Dims,
    write: Write,
}

impl<E: Element> Kernel for OuterBlock<E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut i = 0;
        while i < self.dims.m {
            let rows = (self.dims.m - i).min(6);
            // SAFETY: rows `i..i + rows` lie inside the block that `outer` has checked.
            unsafe {
                match rows {
                    1 => self.rows::<S, 1>(i),
                    2 => self.rows::<S, 2>(i),
                    3 => self.rows::<S, 3>(i),
                    4 => self.rows::<S, 4>(i),
                    5 => self.rows::<S, 5>(i),
                    _ => self.rows::<S, 6>(i),
                }
            }
            i += rows;
        }
    }
}

impl<E: Element> OuterBlock<E> {
    /// All columns for `MR` rows from row `i`.
    #[inline(always)]
    unsafe fn rows<S: Simd, const MR: usize>(&self, i: usize) {
        let n = self.dims.n;
        // Four vectors and six rows fill the 32 registers of AVX-512, two the 16 of AVX2.
        let wide = if S::LANES == 16 {
            4 * S::LANES
        } else {
            2 * S::LANES
        };
        let mut j = 0;
        // SAFETY: each call stays below column `n`.
        unsafe {
            while j + wide <= n {
                if S::LANES == 16 {
                    self.tile::<S, MR, 4>(i, j);
                } else {
                    self.tile::<S, MR, 2>(i, j);
                }
                j += wide;
            }
            while j + S::LANES <= n {
                self.tile::<S, MR, 1>(i, j);
                j += S::LANES;
            }
            if j < n {
                self.tail::<S, MR>(i, j, n - j);
            }
        }
    }

    #[inline(always)]
    unsafe fn tile<S: Simd, const MR: usize, const NV: usize>(&self, i: usize, j: usize) {
        // SAFETY: rows `i..i + MR` and columns `j..j + NV * LANES` are in bounds by the caller.
        unsafe {
            let a = self.a.add(i * self.row);
            let out = self.out.add(i * self.ldo + j);
            let mut acc = [[S::zero(); NV]; MR];
            if self.write == Write::Add {
                for (r, acc) in acc.iter_mut().enumerate() {
                    for (c, acc) in acc.iter_mut().enumerate() {
                        *acc = S::load(out.add(r * self.ldo + c * S::LANES));
                    }
                }
            }
            for p in 0..self.dims.k {
                let w = self.w.add(p * self.ldw + j);
                let wv: [S::V; NV] = std::array::from_fn(|c| E::load::<S>(w.add(c * S::LANES)));
                for (r, acc) in acc.iter_mut().enumerate() {
                    let av = S::splat(*a.add(r * self.row + p * self.col));
                    for c in 0..NV {
                        acc[c] = S::fma(av, wv[c], acc[c]);
                    }
                }
            }
            for (r, acc) in acc.iter().enumerate() {
                for (c, acc) in acc.iter().enumerate() {
                    S::store(out.add(r * self.ldo + c * S::LANES), *acc);
                }
            }
        }
    }

    /// The last `rest < LANES` columns.
    #[inline(always)]
    unsafe fn tail<S: Simd, const MR: usize>(&self, i: usize, j: usize, rest: usize) {
        // SAFETY: as in `tile`, with `rest` columns.
        unsafe {
            let a = self.a.add(i * self.row);
            let out = self.out.add(i * self.ldo + j);
            let mut acc = [S::zero(); MR];
            if self.write == Write::Add {
                for (r, acc) in acc.iter_mut().enumerate() {
                    *acc = S::load_n(out.add(r * self.ldo), rest);
                }
            }
            for p in 0..self.dims.k {
                let wv = E::load_n::<S>(self.w.add(p * self.ldw + j), rest);
                for (r, acc) in acc.iter_mut().enumerate() {
                    let av = S::splat(*a.add(r * self.row + p * self.col));
                    *acc = S::fma(av, wv, *acc);
                }
            }
            for (r, acc) in acc.iter().enumerate() {
                S::store_n(out.add(r * self.ldo), *acc, rest);
            }
        }
    }
}
