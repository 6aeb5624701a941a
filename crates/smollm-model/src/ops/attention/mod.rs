//! Causal attention with grouped queries over sequences packed without padding.
//!
//! ```text
//! S = Q Kᵀ / √d      (keys after the query's own position are masked)
//! P = softmax(S),  O = P V
//! ```
//! Tiles of queries meet all keys up to their last position; a whole `[tokens, tokens]` matrix never
//! exists, and nothing of that size is kept for the backward pass, which forms `P` again from the
//! saved log-sum-exp. Keys stand at their absolute positions in every tile, so a query's result is
//! the same whether its sequence is processed at once, in pieces, or token by token from a cache.
//! Source: Vaswani et al. 2017; Ainslie et al. 2023 (grouped queries); Dao 2023 (FlashAttention-2,
//! the backward formulas).

mod backward;
mod cached;
mod tile;

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::view::{View, cpu_result, f32s};
pub(crate) use backward::ScoreGradient;
pub(crate) use cached::{KeyValues, attend_cached};
pub(crate) use tile::{QUERY_TILE, Sequence, softmax_rows};

/// How many heads there are and how wide each is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub query: usize,
    /// Key and value heads; a divisor of `query`.
    pub key_value: usize,
    /// Features of one head.
    pub dim: usize,
}

impl Heads {
    /// Floats of one token's queries.
    pub fn query_width(self) -> usize {
        self.query * self.dim
    }

    /// Floats of one token's keys, and of its values.
    pub fn key_value_width(self) -> usize {
        self.key_value * self.dim
    }

    /// The key-value head that query head `h` reads.
    pub(crate) fn key_value_of(self, h: usize) -> usize {
        h / (self.query / self.key_value)
    }
}

/// Causal attention within each of `segments` (token ranges that cover the batch in order).
///
/// # Shapes
/// `q: [tokens, query · dim]`, `k` and `v: [tokens, key_value · dim]`, all f32; result as `q`.
///
/// # Errors
/// If the shapes do not fit or a tensor is not on the CPU.
pub fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    heads: Heads,
    segments: Arc<[Range<usize>]>,
) -> Result<Tensor> {
    check_shapes(q, k, v, heads)?;
    if segments.last().map_or(0, |s| s.end) != q.dim(0)? {
        bail!(
            "attention: segments {segments:?} do not cover {} tokens",
            q.dim(0)?
        );
    }
    let op = Attention {
        heads,
        segments,
        lse: OnceLock::new(),
    };
    q.contiguous()?
        .apply_op3(&k.contiguous()?, &v.contiguous()?, op)
}

fn check_shapes(q: &Tensor, k: &Tensor, v: &Tensor, heads: Heads) -> Result<()> {
    let tokens = q.dim(0)?;
    let grouped = heads.key_value > 0 && heads.query.is_multiple_of(heads.key_value);
    let key_value = [tokens, heads.key_value_width()];
    if !grouped
        || q.dims() != [tokens, heads.query_width()]
        || k.dims() != key_value
        || v.dims() != key_value
    {
        bail!(
            "attention: q {:?}, k {:?}, v {:?} do not fit {heads:?}",
            q.dims(),
            k.dims(),
            v.dims()
        );
    }
    Ok(())
}

struct Attention {
    heads: Heads,
    segments: Arc<[Range<usize>]>,
    /// Log-sum-exp of each query's scores, `[query heads, tokens]`, left by the forward pass.
    lse: OnceLock<Vec<f32>>,
}

/// One parallel task of the forward pass: a tile of one head's queries in one segment.
struct Tile {
    segment: usize,
    head: usize,
    rows: Range<usize>,
}

impl Attention {
    fn tiles(&self) -> Vec<Tile> {
        let mut tiles = Vec::new();
        for (segment, range) in self.segments.iter().enumerate() {
            for head in 0..self.heads.query {
                for start in (0..range.len()).step_by(QUERY_TILE) {
                    let rows = start..(start + QUERY_TILE).min(range.len());
                    tiles.push(Tile {
                        segment,
                        head,
                        rows,
                    });
                }
            }
        }
        tiles
    }
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (q, k, v) = (f32s(q, q_layout)?, f32s(k, k_layout)?, f32s(v, v_layout)?);
        let (tokens, width) = q_layout.shape().dims2()?;
        let (dim, kv_width) = (self.heads.dim, self.heads.key_value_width());
        let tiles = self.tiles();
        let results: Vec<_> = tiles
            .par_iter()
            .map(|tile| {
                let range = &self.segments[tile.segment];
                let sequence = Sequence {
                    heads: self.heads,
                    q: &q[range.start * width..range.end * width],
                    past: 0,
                    k: &k[range.start * kv_width..range.end * kv_width],
                    v: &v[range.start * kv_width..range.end * kv_width],
                };
                sequence.attend(tile.head, tile.rows.clone())
            })
            .collect();
        let mut out = vec![0f32; tokens * width];
        let mut lse = vec![0f32; tokens * self.heads.query];
        for (tile, (rows, row_lse)) in tiles.iter().zip(results) {
            let first = self.segments[tile.segment].start + tile.rows.start;
            for (i, row) in rows.chunks_exact(dim).enumerate() {
                out[(first + i) * width + tile.head * dim..][..dim].copy_from_slice(row);
            }
            lse[tile.head * tokens + first..][..row_lse.len()].copy_from_slice(&row_lse);
        }
        // The op belongs to one call, so the cell is empty.
        let _ = self.lse.set(lse);
        cpu_result(out, (tokens, width))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        out: &Tensor,
        dout: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Some(lse) = self.lse.get() else {
            bail!("attention: backward without a forward pass");
        };
        let dout = dout.contiguous()?;
        let views = (
            View::of(q)?,
            View::of(k)?,
            View::of(v)?,
            View::of(out)?,
            View::of(&dout)?,
        );
        let inputs = backward::Inputs {
            heads: self.heads,
            segments: &self.segments,
            q: views.0.slice(),
            k: views.1.slice(),
            v: views.2.slice(),
            out: views.3.slice(),
            dout: views.4.slice(),
            lse,
        };
        let (dq, dk, dv) = inputs.gradients();
        let tensor = |data, like: &Tensor| {
            like.track_op()
                .then(|| Tensor::from_vec(data, like.shape(), like.device()))
                .transpose()
        };
        Ok((tensor(dq, q)?, tensor(dk, k)?, tensor(dv, v)?))
    }
}
