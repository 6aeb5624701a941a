//! Products with a right operand that is contiguous along the output: lanes along the output.

use super::{Dims, Out, Strided, Threads, covers, for_each_block};
use crate::simd::{Element, Kernel, Simd, dispatch};

/// Reduction block of [`outer`]: keeps the strip of `w` that a task reads in L1/L2, and is the length
/// of one chain of additions. In a single chain over a vocabulary of 49,152 the many tiny terms would
/// be rounded away one by one against the large ones: measured, 1e-3 of the last layer's gradient.
const REDUCTION_BLOCK: usize = 256;

/// What [`outer`] does with the values that stand in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// Replace them.
    Set,
    /// Add each sum to them.
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
        let mut block = OuterBlock {
            a: a.data[(rows.start * a.row).min(a.data.len())..].as_ptr(),
            row: a.row,
            col: a.col,
            w: w[cols.start.min(w.len())..].as_ptr(),
            ldw,
            out: out.at(rows.start, cols.start),
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
                    let out = out.add(r * self.ldo + c * S::LANES);
                    let sum = match self.write {
                        Write::Set => *acc,
                        Write::Add => S::fma(*acc, S::splat(1.0), S::load(out)),
                    };
                    S::store(out, sum);
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
            for p in 0..self.dims.k {
                let wv = E::load_n::<S>(self.w.add(p * self.ldw + j), rest);
                for (r, acc) in acc.iter_mut().enumerate() {
                    let av = S::splat(*a.add(r * self.row + p * self.col));
                    *acc = S::fma(av, wv, *acc);
                }
            }
            for (r, acc) in acc.iter().enumerate() {
                let out = out.add(r * self.ldo);
                let sum = match self.write {
                    Write::Set => *acc,
                    Write::Add => S::fma(*acc, S::splat(1.0), S::load_n(out, rest)),
                };
                S::store_n(out, sum, rest);
            }
        }
    }
}
