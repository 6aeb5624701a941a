//! The grids of what works on heads: attention, the cache, decoding.

use std::ops::Range;

use super::{Kernel, Plan, blocks, multiples, plan, require};
use crate::cuda::args::{
    AttentionBackward, AttentionDelta, AttentionForward, AttentionKeys, AttentionQueries,
    DecodeAttention, DecodeCombine, Heads, QkvAppend, SequenceTile,
};
use crate::cuda::{Element, KernelError};

/// Rows of an attention tile, and features of a head.
const TILE: u32 = 64;
/// Four tiles of 64 x 64 two-byte elements: two buffers of two.
const TILES_SHARED: u32 = 4 * TILE * TILE * 2;
/// lse and delta of 64 queries, twice.
const STATISTICS_SHARED: u32 = 4 * TILE * 4;
/// The f32 kernels: 128 rows of 65 floats and two weights for 8 rows and 32 keys of each warp.
const F32_SHARED: u32 = (128 * 65 + 4 * 2 * 8 * 32) * 4;

fn attention_plan(
    name: &str,
    element: Element,
    (heads, group_heads): (Heads, u32),
    (tiles, strides): (u32, &[u32]),
    extra: u32,
) -> Result<Plan, KernelError> {
    let grouped = heads.key_value > 0 && heads.query.is_multiple_of(heads.key_value);
    require("attention", grouped && heads.query > 0, || {
        format!(
            "{} query heads over {} key-value heads",
            heads.query, heads.key_value
        )
    })?;
    let strides: Vec<(&str, u32)> = strides.iter().map(|&stride| ("a stride", stride)).collect();
    multiples("attention", element.pack(), &strides)?;
    let shared = match element {
        Element::F32 => F32_SHARED,
        Element::Bf16 | Element::F16 => TILES_SHARED + extra,
    };
    Ok(Plan {
        shared,
        ..plan(name, element, [tiles, group_heads, 1], 128)
    })
}

impl Kernel for AttentionForward {
    fn plan(&self, element: Element) -> Result<Plan, KernelError> {
        let strides = [self.q_stride, self.kv_stride, self.out_stride];
        let heads = (self.heads, self.heads.query);
        attention_plan(
            "attention_forward",
            element,
            heads,
            (self.tile_count, &strides),
            0,
        )
    }
}

impl Kernel for AttentionDelta {
    fn plan(&self, element: Element) -> Result<Plan, KernelError> {
        multiples("attention", element.pack(), &[("stride", self.stride)])?;
        let items = u64::from(self.tokens) * u64::from(self.heads * (TILE / element.pack()));
        Ok(plan(
            "attention_delta",
            element,
            [blocks(items, 128), 1, 1],
            128,
        ))
    }
}

impl AttentionBackward {
    fn strides(&self) -> [u32; 5] {
        [
            self.q_stride,
            self.kv_stride,
            self.dout_stride,
            self.dq_stride,
            self.dkv_stride,
        ]
    }
}

impl Kernel for AttentionKeys {
    fn plan(&self, element: Element) -> Result<Plan, KernelError> {
        let heads = (self.0.heads, self.0.heads.key_value);
        let tiles = (self.0.tile_count, &self.0.strides()[..]);
        attention_plan("attention_keys", element, heads, tiles, STATISTICS_SHARED)
    }
}

impl Kernel for AttentionQueries {
    fn plan(&self, element: Element) -> Result<Plan, KernelError> {
        let heads = (self.0.heads, self.0.heads.query);
        let tiles = (self.0.tile_count, &self.0.strides()[..]);
        attention_plan("attention_queries", element, heads, tiles, 0)
    }
}

impl Kernel for QkvAppend {
    fn plan(&self, element: Element) -> Result<Plan, KernelError> {
        multiples("qkv_append", 2 * element.pack(), &[("dim", self.dim)])?;
        let heads = self.q_heads + 2 * self.kv_heads;
        let items = u64::from(self.tokens) * u64::from(heads * (self.dim / 2 / element.pack()));
        Ok(plan("qkv_append", element, [blocks(items, 256), 1, 1], 256))
    }
}

impl Kernel for DecodeAttention {
    fn plan(&self, element: Element) -> Result<Plan, KernelError> {
        let grouped = self.kv_heads > 0 && self.q_heads.is_multiple_of(self.kv_heads);
        require("decode_attention", grouped && self.q_heads > 0, || {
            format!(
                "{} query heads over {} key-value heads",
                self.q_heads, self.kv_heads
            )
        })?;
        // Group sizes with a kernel of their own; any other takes its heads one by one.
        let group = match self.q_heads / self.kv_heads {
            group @ (3 | 4) => group,
            _ => 1,
        };
        let grid = [self.splits, self.q_heads / group, self.rows];
        Ok(plan(
            &format!("decode_attention_g{group}"),
            element,
            grid,
            128,
        ))
    }
}

impl Kernel for DecodeCombine {
    fn plan(&self, element: Element) -> Result<Plan, KernelError> {
        Ok(plan(
            "decode_combine",
            element,
            [self.q_heads, self.rows, 1],
            TILE,
        ))
    }
}

/// Rows of a tile of [`AttentionForward`].
pub const FORWARD_ROWS: u32 = 128;
/// Rows of a tile of [`AttentionKeys`] and [`AttentionQueries`].
pub const BACKWARD_ROWS: u32 = TILE;

/// The attention tiles of a batch, up to `rows` tokens each, those with the most keys first, so
/// that the last blocks to start are short ones.
pub fn sequence_tiles(segments: &[Range<usize>], rows: u32) -> Vec<SequenceTile> {
    let tiles = segments.iter().flat_map(|segment| {
        (0..segment.len())
            .step_by(rows.max(1) as usize)
            .map(|row| SequenceTile {
                start: segment.start as u32,
                length: segment.len() as u32,
                row: row as u32,
                unused: 0,
            })
    });
    let mut tiles: Vec<SequenceTile> = tiles.collect();
    tiles.sort_by_key(|tile| std::cmp::Reverse(tile.row));
    tiles
}
