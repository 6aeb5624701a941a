//! One tile of queries against all keys that it may see.

use std::ops::Range;

use super::Heads;
use crate::ops::gemm::{self, Dims, Strided, Threads, Write};
use crate::ops::math::{exp, max, sum};
use crate::simd::{Kernel, Simd, dispatch};

/// Queries of one tile: a multiple of the six rows that the products work on at a time.
pub(crate) const QUERY_TILE: usize = 48;

/// The new queries of one sequence and all its keys and values.
pub(crate) struct Sequence<'a> {
    pub(crate) heads: Heads,
    /// `[new tokens, query width]`
    pub(crate) q: &'a [f32],
    /// Tokens whose keys precede the first query's own.
    pub(crate) past: usize,
    /// `[past + new tokens, key-value width]`
    pub(crate) k: &'a [f32],
    /// `[past + new tokens, key-value width]`
    pub(crate) v: &'a [f32],
}

impl Sequence<'_> {
    /// Outputs `[rows, dim]` and log-sum-exps `[rows]` of head `head` for the queries `rows`.
    pub(crate) fn attend(&self, head: usize, rows: Range<usize>) -> (Vec<f32>, Vec<f32>) {
        let Heads { dim, .. } = self.heads;
        let (first, m, keys) = (self.past + rows.start, rows.len(), self.past + rows.end);
        let mut p = vec![0f32; m * keys];
        gemm::dot(
            Threads::Caller,
            Dims { m, n: keys, k: dim },
            self.head_rows(self.q, head, rows),
            self.head_keys(self.k, head),
            (&mut p, keys),
        );
        let lse = dispatch(Softmax {
            p: &mut p,
            keys,
            first,
            scale: scale(dim),
        });
        let mut out = vec![0f32; m * dim];
        gemm::outer(
            Threads::Caller,
            Dims { m, n: dim, k: keys },
            Strided::rows(&p, keys),
            self.head_keys(self.v, head),
            (&mut out, dim),
            Write::Set,
        );
        (out, lse)
    }

    /// `data` (laid out as `q`) from the first of `rows` on, for one head, with its row stride.
    pub(super) fn head_rows<'b>(
        &self,
        data: &'b [f32],
        head: usize,
        rows: Range<usize>,
    ) -> (&'b [f32], usize) {
        let width = self.heads.query_width();
        (&data[rows.start * width + head * self.heads.dim..], width)
    }

    /// `data` (laid out as `k`) from the first key on, for the head that `head` reads, with its row
    /// stride.
    pub(super) fn head_keys<'b>(&self, data: &'b [f32], head: usize) -> (&'b [f32], usize) {
        let offset = self.heads.key_value_of(head) * self.heads.dim;
        (&data[offset..], self.heads.key_value_width())
    }
}

/// `1 / √d`
pub(super) fn scale(dim: usize) -> f32 {
    1.0 / (dim as f32).sqrt()
}

/// Turns raw scores `p: [rows, keys]` into probabilities in place, where row `i` sees `first + i + 1` keys; returns the
/// log-sum-exp of each row's scores times `scale`.
pub(crate) fn softmax_rows(p: &mut [f32], keys: usize, first: usize, scale: f32) -> Vec<f32> {
    dispatch(Softmax {
        p,
        keys,
        first,
        scale,
    })
}

/// Turns raw scores `[rows, keys]` into probabilities in place; row `i` sees `first + i + 1` keys.
/// Returns the log-sum-exp of each row's scaled scores.
struct Softmax<'a> {
    p: &'a mut [f32],
    keys: usize,
    first: usize,
    scale: f32,
}

impl Kernel for Softmax<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> Vec<f32> {
        let (first, scale) = (self.first, self.scale);
        let rows = self.p.chunks_exact_mut(self.keys).enumerate();
        rows.map(|(i, row)| {
            let (seen, masked) = row.split_at_mut(first + i + 1);
            masked.fill(0.0);
            let top = max(seen) * scale;
            for s in seen.iter_mut() {
                *s = exp(*s * scale - top);
            }
            let total = sum(seen.len(), |j| seen[j]);
            let inverse = 1.0 / total;
            for s in seen.iter_mut() {
                *s *= inverse;
            }
            top + total.ln()
        })
        .collect()
    }
}
