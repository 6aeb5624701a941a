//! Attention of new tokens over the keys and values of earlier ones: generation.

use std::ops::Range;

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::tile::{QUERY_TILE, Sequence};
use super::{Heads, check_shapes};
use crate::ops::view::View;

/// Keys and values of one sequence in one layer, `[tokens, key-value width]` each, f32.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyValues {
    k: Vec<f32>,
    v: Vec<f32>,
}

impl KeyValues {
    /// The first `values` floats of both.
    pub(crate) fn prefix(&self, values: usize) -> Self {
        Self {
            k: self.k[..values].to_vec(),
            v: self.v[..values].to_vec(),
        }
    }
}

/// Appends each segment's keys and values to its cache, then attends: segment `i` of the batch
/// continues the sequence whose earlier tokens `caches[i]` holds. No gradient.
///
/// Shapes as in [`super::attention`].
pub(crate) fn attend_cached(
    (q, k, v): (&Tensor, &Tensor, &Tensor),
    heads: Heads,
    segments: &[Range<usize>],
    caches: &mut [&mut KeyValues],
) -> Result<Tensor> {
    check_shapes(q, k, v, heads)?;
    if caches.len() != segments.len() {
        bail!(
            "attention: {} segments but {} caches",
            segments.len(),
            caches.len()
        );
    }
    let (q, k, v) = (q.contiguous()?, k.contiguous()?, v.contiguous()?);
    let (qv, kv, vv) = (
        View::<f32>::of(&q)?,
        View::<f32>::of(&k)?,
        View::<f32>::of(&v)?,
    );
    let (width, kv_width) = (heads.query_width(), heads.key_value_width());
    for (cache, range) in caches.iter_mut().zip(segments) {
        cache
            .k
            .extend_from_slice(&kv.slice()[range.start * kv_width..range.end * kv_width]);
        cache
            .v
            .extend_from_slice(&vv.slice()[range.start * kv_width..range.end * kv_width]);
    }
    let sequences: Vec<Sequence<'_>> = caches
        .iter()
        .zip(segments)
        .map(|(cache, range)| Sequence {
            heads,
            q: &qv.slice()[range.start * width..range.end * width],
            past: cache.k.len() / kv_width - range.len(),
            k: &cache.k,
            v: &cache.v,
        })
        .collect();
    let tiles: Vec<(usize, usize, Range<usize>)> = segments
        .iter()
        .enumerate()
        .flat_map(|(i, range)| {
            let n = range.len();
            (0..heads.query).flat_map(move |head| {
                (0..n)
                    .step_by(QUERY_TILE)
                    .map(move |s| (i, head, s..(s + QUERY_TILE).min(n)))
            })
        })
        .collect();
    let results: Vec<Vec<f32>> = tiles
        .par_iter()
        .map(|(i, head, rows)| sequences[*i].attend(*head, rows.clone()).0)
        .collect();
    let mut out = vec![0f32; qv.slice().len()];
    for ((i, head, rows), result) in tiles.iter().zip(results) {
        let first = segments[*i].start + rows.start;
        for (r, row) in result.chunks_exact(heads.dim).enumerate() {
            out[(first + r) * width + head * heads.dim..][..heads.dim].copy_from_slice(row);
        }
    }
    Tensor::from_vec(out, q.shape(), q.device())
}
