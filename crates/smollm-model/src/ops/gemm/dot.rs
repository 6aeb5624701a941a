//! Products of rows with rows: lanes along the reduction.

use super::{Dims, Out, Threads, covers, for_each_block};
use crate::simd::{Element, Kernel, Simd, dispatch};

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
        dispatch(DotBlock {
            x: x[(rows.start * ldx).min(x.len())..].as_ptr(),
            ldx,
            w: w[(cols.start * ldw).min(w.len())..].as_ptr(),
            ldw,
            out: out.at(rows.start, cols.start),
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
