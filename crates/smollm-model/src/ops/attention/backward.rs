//! Gradients of attention, one task for each head of each sequence.
//!
//! ```text
//! P  = exp(S − lse)            D_i = Σ_c dO_ic O_ic
//! dV = Pᵀ dO,  dP = dO Vᵀ,  dS = P ∘ (dP − D) / √d
//! dQ = dS K,   dK = dSᵀ Q
//! ```
//! Heads that share keys write to buffers of their own, added in order of the head: no atomics, one
//! result for any number of threads.

use std::ops::Range;

use rayon::prelude::*;

use super::Heads;
use super::tile::{QUERY_TILE, Sequence, scale};
use crate::ops::gemm::{self, Dims, Strided, Threads, Write};
use crate::ops::math::{exp, sum};
use crate::simd::{Kernel, Simd, dispatch};

/// What the forward pass saw and gave, and the gradient of what it gave.
pub(super) struct Inputs<'a> {
    pub(super) heads: Heads,
    pub(super) segments: &'a [Range<usize>],
    pub(super) q: &'a [f32],
    pub(super) k: &'a [f32],
    pub(super) v: &'a [f32],
    pub(super) out: &'a [f32],
    pub(super) dout: &'a [f32],
    pub(super) lse: &'a [f32],
}

/// Gradients of one head in one sequence, `[tokens of the sequence, dim]` each.
struct HeadGradients {
    dq: Vec<f32>,
    dk: Vec<f32>,
    dv: Vec<f32>,
}

impl Inputs<'_> {
    /// `(dq, dk, dv)` in the layouts of `q`, `k` and `v`.
    pub(super) fn gradients(&self) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let heads = self.heads;
        let tasks: Vec<(usize, usize)> = (0..self.segments.len())
            .flat_map(|segment| (0..heads.query).map(move |head| (segment, head)))
            .collect();
        let parts: Vec<HeadGradients> = tasks
            .par_iter()
            .map(|&(segment, head)| self.head(segment, head))
            .collect();
        let mut dq = vec![0f32; self.q.len()];
        let (mut dk, mut dv) = (vec![0f32; self.k.len()], vec![0f32; self.v.len()]);
        for (&(segment, head), part) in tasks.iter().zip(&parts) {
            let start = self.segments[segment].start;
            let kv = heads.key_value_of(head);
            add_head(
                &mut dq,
                &part.dq,
                start,
                heads.query_width(),
                head * heads.dim,
                heads.dim,
            );
            add_head(
                &mut dk,
                &part.dk,
                start,
                heads.key_value_width(),
                kv * heads.dim,
                heads.dim,
            );
            add_head(
                &mut dv,
                &part.dv,
                start,
                heads.key_value_width(),
                kv * heads.dim,
                heads.dim,
            );
        }
        (dq, dk, dv)
    }

    fn head(&self, segment: usize, head: usize) -> HeadGradients {
        let Heads { dim, .. } = self.heads;
        let range = self.segments[segment].clone();
        let (width, kv_width) = (self.heads.query_width(), self.heads.key_value_width());
        let sequence = Sequence {
            heads: self.heads,
            q: &self.q[range.start * width..range.end * width],
            past: 0,
            k: &self.k[range.start * kv_width..range.end * kv_width],
            v: &self.v[range.start * kv_width..range.end * kv_width],
        };
        let n = range.len() * dim;
        let mut grads = HeadGradients {
            dq: vec![0.0; n],
            dk: vec![0.0; n],
            dv: vec![0.0; n],
        };
        for start in (0..range.len()).step_by(QUERY_TILE) {
            let rows = start..(start + QUERY_TILE).min(range.len());
            self.tile(&sequence, head, range.start, rows, &mut grads);
        }
        grads
    }

    /// Adds what the queries `rows` of the sequence that begins at token `base` contribute.
    fn tile(
        &self,
        sequence: &Sequence<'_>,
        head: usize,
        base: usize,
        rows: Range<usize>,
        grads: &mut HeadGradients,
    ) {
        let Heads { dim, .. } = self.heads;
        let (m, keys) = (rows.len(), rows.end);
        let (k, v) = (
            sequence.head_keys(sequence.k, head),
            sequence.head_keys(sequence.v, head),
        );
        let tokens = base + rows.start..base + rows.end;
        let q = sequence.head_rows(sequence.q, head, rows.clone());
        let dout = sequence.head_rows(self.dout, head, tokens.clone());
        let out = sequence.head_rows(self.out, head, tokens.clone());
        let scores = Dims { m, n: keys, k: dim };

        let (mut p, mut ds) = (vec![0f32; m * keys], vec![0f32; m * keys]);
        gemm::dot(Threads::Caller, scores, q, k, (&mut p, keys));
        gemm::dot(Threads::Caller, scores, dout, v, (&mut ds, keys));
        dispatch(ScoreGradient {
            p: &mut p,
            ds: &mut ds,
            keys,
            first: rows.start,
            scale: scale(dim),
            lse: &self.lse[head * (self.q.len() / self.heads.query_width())..][tokens],
            dout,
            out,
            dim,
        });

        let dq = &mut grads.dq[rows.start * dim..];
        let over_keys = Dims { m, n: dim, k: keys };
        let ds_rows = Strided::rows(&ds, keys);
        gemm::outer(
            Threads::Caller,
            over_keys,
            ds_rows,
            k,
            (dq, dim),
            Write::Set,
        );
        let over_rows = Dims {
            m: keys,
            n: dim,
            k: m,
        };
        let (ds_t, p_t) = (
            Strided::transposed(&ds, keys),
            Strided::transposed(&p, keys),
        );
        gemm::outer(
            Threads::Caller,
            over_rows,
            ds_t,
            q,
            (&mut grads.dk, dim),
            Write::Add,
        );
        gemm::outer(
            Threads::Caller,
            over_rows,
            p_t,
            dout,
            (&mut grads.dv, dim),
            Write::Add,
        );
    }
}

/// Adds `part: [rows, dim]` to columns `offset..offset + dim` of the rows from `start` on.
fn add_head(
    whole: &mut [f32],
    part: &[f32],
    start: usize,
    width: usize,
    offset: usize,
    dim: usize,
) {
    for (i, row) in part.chunks_exact(dim).enumerate() {
        let target = &mut whole[(start + i) * width + offset..][..dim];
        for (target, x) in target.iter_mut().zip(row) {
            *target += x;
        }
    }
}

/// Turns raw scores into `P` and `dP` into `dS`, both `[rows, keys]`, in place.
pub(crate) struct ScoreGradient<'a> {
    pub(crate) p: &'a mut [f32],
    pub(crate) ds: &'a mut [f32],
    pub(crate) keys: usize,
    /// Keys before the first row's own.
    pub(crate) first: usize,
    pub(crate) scale: f32,
    pub(crate) lse: &'a [f32],
    /// Rows of `dO` and `O`, and how far apart they are.
    pub(crate) dout: (&'a [f32], usize),
    pub(crate) out: (&'a [f32], usize),
    pub(crate) dim: usize,
}

impl Kernel for ScoreGradient<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let rows = self
            .p
            .chunks_exact_mut(self.keys)
            .zip(self.ds.chunks_exact_mut(self.keys));
        for (i, (p, ds)) in rows.enumerate() {
            let out = &self.out.0[i * self.out.1..][..self.dim];
            let dout = &self.dout.0[i * self.dout.1..][..self.dim];
            let d = sum(self.dim, |c| dout[c] * out[c]);
            let (lse, seen) = (self.lse[i], self.first + i + 1);
            for (p, ds) in p.iter_mut().zip(ds.iter_mut()).take(seen) {
                *p = exp(*p * self.scale - lse);
                *ds = *p * (*ds - d) * self.scale;
            }
            p[seen..].fill(0.0);
            ds[seen..].fill(0.0);
        }
    }
}
