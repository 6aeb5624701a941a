//! Attention in f32.

use super::{KeyGradients, Layout, Seen, Task};
use crate::ops::gemm::{self, Dims, Strided, Threads, Write};
use crate::ops::{QUERY_TILE, ScoreGradient, softmax_rows};
use crate::simd::dispatch;

/// Gives each row's output and log-sum-exp to `store`.
pub(super) fn forward(
    layout: Layout,
    qkv: &[f32],
    task: &Task,
    store: &dyn Fn(usize, &[f32], f32),
) {
    let (width, dim, head) = (layout.width(), layout.heads.dim, task.head);
    let qkv = &qkv[task.tokens.start * width..task.tokens.end * width];
    let (mut p, mut out) = (Vec::new(), vec![0f32; QUERY_TILE * dim]);
    for start in (0..task.tokens.len()).step_by(QUERY_TILE) {
        let m = QUERY_TILE.min(task.tokens.len() - start);
        let keys = start + m;
        p.clear();
        p.resize(m * keys, 0f32);
        gemm::dot(
            Threads::Caller,
            Dims { m, n: keys, k: dim },
            (&qkv[start * width + layout.query(head)..], width),
            (&qkv[layout.key(head)..], width),
            (&mut p, keys),
        );
        let lse = softmax_rows(&mut p, keys, start, scale(dim));
        gemm::outer(
            Threads::Caller,
            Dims { m, n: dim, k: keys },
            Strided::rows(&p, keys),
            (&qkv[layout.value(head)..], width),
            (&mut out, dim),
            Write::Set,
        );
        for (i, (row, lse)) in out.chunks_exact(dim).zip(lse).enumerate() {
            store(start + i, row, lse);
        }
    }
}

/// Gives each row's `dq` to `store` and returns the rest.
pub(super) fn backward(
    layout: Layout,
    seen: &Seen<'_>,
    task: &Task,
    store: &dyn Fn(usize, &[f32]),
) -> KeyGradients {
    let (width, dim, head) = (layout.width(), layout.heads.dim, task.head);
    let (n, query_width) = (task.tokens.len(), layout.heads.query_width());
    let qkv = &seen.qkv[task.tokens.start * width..task.tokens.end * width];
    let all_tokens = seen.qkv.len() / width;
    let mut grads = KeyGradients {
        dk: vec![0.0; n * dim],
        dv: vec![0.0; n * dim],
    };
    let (mut p, mut ds) = (Vec::new(), Vec::new());
    let mut dq = vec![0f32; QUERY_TILE * dim];
    let (k, v) = (
        (&qkv[layout.key(head)..], width),
        (&qkv[layout.value(head)..], width),
    );
    for start in (0..n).step_by(QUERY_TILE) {
        let m = QUERY_TILE.min(n - start);
        let keys = start + m;
        let first = task.tokens.start + start;
        let q = (&qkv[start * width + layout.query(head)..], width);
        let of_head = first * query_width + head * dim;
        let (dout, out) = (
            (&seen.dout[of_head..], query_width),
            (&seen.out[of_head..], query_width),
        );
        p.clear();
        p.resize(m * keys, 0f32);
        ds.clear();
        ds.resize(m * keys, 0f32);
        let scores = Dims { m, n: keys, k: dim };
        gemm::dot(Threads::Caller, scores, q, k, (&mut p, keys));
        gemm::dot(Threads::Caller, scores, dout, v, (&mut ds, keys));
        dispatch(ScoreGradient {
            p: &mut p,
            ds: &mut ds,
            keys,
            first: start,
            scale: scale(dim),
            lse: &seen.lse[head * all_tokens + first..][..m],
            dout,
            out,
            dim,
        });
        let over_keys = Dims { m, n: dim, k: keys };
        let rows = Strided::rows(&ds, keys);
        gemm::outer(
            Threads::Caller,
            over_keys,
            rows,
            k,
            (&mut dq, dim),
            Write::Set,
        );
        for (i, row) in dq.chunks_exact(dim).take(m).enumerate() {
            store(start + i, row);
        }
        let over_rows = Dims {
            m: keys,
            n: dim,
            k: m,
        };
        for (left, right, to) in [(&ds, q, &mut grads.dk), (&p, dout, &mut grads.dv)] {
            gemm::outer(
                Threads::Caller,
                over_rows,
                Strided::transposed(left, keys),
                right,
                (to, dim),
                Write::Add,
            );
        }
    }
    grads
}

/// `1 / √d`
fn scale(dim: usize) -> f32 {
    1.0 / (dim as f32).sqrt()
}
