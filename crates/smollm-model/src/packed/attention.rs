//! Attention of new tokens over a [`super::PackedCache`].
//!
//! The queries of a piece of a sequence that read the same keys (all heads of a group) meet all keys in one product,
//! then softmax, then one product with the values. Keys stand at their absolute positions, masked probabilities are
//! exactly zero, and every sum runs over the keys in order: a query's result does not depend on the piece it is in.
//! Formulas: [`crate::ops::attention`].

// A kernel's body must be compiled with the instructions of the level that `simd::dispatch` chose, so
// it has to be inlined into it.
#![allow(clippy::inline_always)]

use std::ops::Range;

use cpu_gemm::tiles::{TileGrid, multiply_tiles};

use super::bytes::{Scales, Widen};
use super::cache::{KEYS, LayerPointers, STEP, Shape, TILE};
use crate::buffer::grow;
use crate::ops::math::{rounded_probabilities, to_bf16};
use crate::ops::{Heads, Sequence};
use crate::simd::{Kernel, Simd, dispatch};

/// New tokens that are worked on together: with the heads of a group, a few tiles of queries.
pub(super) const QUERY_ROWS: usize = 16;

/// The same where keys and values are f32, whose products work on six rows at a time.
pub(super) const F32_QUERY_ROWS: usize = 48;

/// A piece of attention: one group of heads, some rows of one sequence.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) segment: usize,
    pub(super) kv_head: usize,
    /// Rows within the segment.
    pub(super) rows: Range<usize>,
}

/// What a piece reads and writes.
pub(super) struct Job<'a> {
    pub(super) shape: Shape,
    /// Query heads for each key-value head.
    pub(super) group: usize,
    pub(super) cache: LayerPointers,
    /// Position of the piece's first row.
    pub(super) first: usize,
    pub(super) rows: usize,
    pub(super) kv_head: usize,
    /// Queries of the piece's rows: `[rows, stride]`, all heads.
    pub(super) q: &'a [f32],
    pub(super) stride: usize,
}

/// Buffers of one thread.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    q: Vec<u16>,
    /// Keys and values of one head, where they are kept in fewer bits.
    k: Vec<u16>,
    v: Vec<u16>,
    scores: Vec<f32>,
    p: Vec<u16>,
    out: Vec<f32>,
    totals: Vec<f32>,
}

impl Job<'_> {
    /// Writes the outputs of the piece through `store(row, query head, values)`.
    ///
    /// # Safety
    /// The cache holds all keys up to the piece's last row, and nobody writes them meanwhile.
    pub(super) unsafe fn run(
        &self,
        scratch: &mut Scratch,
        store: &mut dyn FnMut(usize, usize, &[f32]),
    ) {
        match self.cache {
            // SAFETY: the caller's promise.
            LayerPointers::F32 { k, v } => unsafe { self.run_f32((k, v), store) },
            // SAFETY: the caller's promise.
            LayerPointers::Bf16 { k, v } => unsafe {
                let head = self.kv_head;
                let keys = TileGrid {
                    tiles: k.add(head * self.shape.key_tiles() * TILE),
                    step_stride: TILE,
                    panel_stride: self.shape.key_stride(),
                };
                let values = TileGrid {
                    tiles: v.add(head * self.shape.value_tiles() * TILE),
                    step_stride: self.shape.value_stride(),
                    panel_stride: TILE,
                };
                self.run_tiles(keys, values, scratch, store);
            },
            // SAFETY: the caller's promise.
            LayerPointers::Q8_0 { k, v, scales } => unsafe {
                let (keys, values) = self.widen((k, v, scales), scratch);
                self.run_tiles(keys, values, scratch, store);
            },
        }
    }

    unsafe fn run_f32(
        &self,
        (k, v): (*const f32, *const f32),
        store: &mut dyn FnMut(usize, usize, &[f32]),
    ) {
        let floats = (self.first + self.rows) * self.shape.width();
        // SAFETY: the cache holds that many tokens.
        let (k, v) = unsafe {
            (
                std::slice::from_raw_parts(k, floats),
                std::slice::from_raw_parts(v, floats),
            )
        };
        let heads = Heads {
            query: self.shape.heads * self.group,
            key_value: self.shape.heads,
            dim: self.shape.dim,
        };
        let width = heads.query_width();
        let rows = self.q.chunks(self.stride).take(self.rows);
        let q: Vec<f32> = rows.flat_map(|row| &row[..width]).copied().collect();
        let sequence = Sequence {
            heads,
            q: &q,
            past: self.first,
            k,
            v,
        };
        for g in 0..self.group {
            let head = self.kv_head * self.group + g;
            let (out, _) = sequence.attend(head, 0..self.rows);
            for (row, out) in out.chunks_exact(self.shape.dim).enumerate() {
                store(row, head, out);
            }
        }
    }

    /// Keys and values of the piece's head as bf16 tiles in `scratch`.
    ///
    /// # Safety
    /// As for [`Job::run`].
    unsafe fn widen(
        &self,
        (k, v, scales): (*const i8, *const i8, *const Scales),
        scratch: &mut Scratch,
    ) -> (TileGrid, TileGrid) {
        let shape = self.shape;
        let steps = (self.first + self.rows).div_ceil(STEP);
        let blocks = steps * (STEP / KEYS);
        let (key_size, value_size) = (shape.key_tiles() * TILE, shape.value_tiles() * TILE);
        grow(&mut scratch.k, blocks * key_size);
        grow(&mut scratch.v, steps * value_size);
        // SAFETY: the cache holds whole steps of tokens, as far as these rows see.
        let (keys, values, scales) = unsafe {
            (
                std::slice::from_raw_parts(k, blocks * shape.key_stride()),
                std::slice::from_raw_parts(v, steps * shape.value_stride()),
                std::slice::from_raw_parts(scales, steps * STEP * shape.heads),
            )
        };
        dispatch(Widen {
            shape,
            head: self.kv_head,
            keys,
            values,
            scales,
            wide_keys: &mut scratch.k[..blocks * key_size],
            wide_values: &mut scratch.v[..steps * value_size],
        });
        let grid = |tiles, step_stride, panel_stride| TileGrid {
            tiles,
            step_stride,
            panel_stride,
        };
        (
            grid(scratch.k.as_ptr(), TILE, key_size),
            grid(scratch.v.as_ptr(), value_size, TILE),
        )
    }

    /// # Safety
    /// As for [`Job::run`]; the grids have the keys and values of the piece's head, in whole steps.
    unsafe fn run_tiles(
        &self,
        keys_of_head: TileGrid,
        values_of_head: TileGrid,
        scratch: &mut Scratch,
        store: &mut dyn FnMut(usize, usize, &[f32]),
    ) {
        let (shape, m) = (self.shape, self.rows * self.group);
        let keys = self.first + self.rows;
        let (steps, panels) = (keys.div_ceil(STEP), keys.div_ceil(KEYS));
        let (q_width, k_width, v_width) = (
            shape.key_tiles() * 32,
            steps * STEP,
            shape.value_tiles() * 16,
        );
        self.gather(q_width, &mut scratch.q);
        grow(&mut scratch.scores, m * k_width);
        grow(&mut scratch.p, m * k_width);
        grow(&mut scratch.out, m * v_width);
        grow(&mut scratch.totals, m);
        let q = (scratch.q.as_ptr(), q_width, m);
        let scores = (scratch.scores.as_mut_ptr(), k_width);
        // SAFETY: the grid covers `panels` blocks of keys, the buffers have been grown to these extents.
        unsafe { multiply_tiles(q, keys_of_head, shape.key_tiles(), panels, scores) };
        dispatch(Softmax {
            scores: &mut scratch.scores[..m * k_width],
            p: &mut scratch.p[..m * k_width],
            totals: &mut scratch.totals[..m],
            keys: k_width,
            first: self.first,
            group: self.group,
            scale: 1.0 / (shape.dim as f32).sqrt(),
        });
        let p = (scratch.p.as_ptr(), k_width, m);
        let out = (scratch.out.as_mut_ptr(), v_width);
        // SAFETY: the grid covers `steps` steps of values, the buffers have been grown to these extents.
        unsafe { multiply_tiles(p, values_of_head, steps, shape.value_tiles(), out) };
        for (i, (out, total)) in scratch.out[..m * v_width]
            .chunks_exact_mut(v_width)
            .zip(&scratch.totals)
            .enumerate()
        {
            let inverse = 1.0 / total;
            for x in &mut out[..shape.dim] {
                *x *= inverse;
            }
            let head = self.kv_head * self.group + i % self.group;
            store(i / self.group, head, &out[..shape.dim]);
        }
    }

    /// The queries as bf16 rows, `[rows · group, width]`: row by row, head by head.
    fn gather(&self, width: usize, q: &mut Vec<u16>) {
        let dim = self.shape.dim;
        q.clear();
        q.resize(self.rows * self.group * width, 0);
        for (i, to) in q.chunks_exact_mut(width).enumerate() {
            let head = self.kv_head * self.group + i % self.group;
            let from = &self.q[i / self.group * self.stride + head * dim..][..dim];
            for (to, from) in to.iter_mut().zip(from) {
                *to = to_bf16(*from);
            }
        }
    }
}

/// Unnormalised probabilities of raw scores `[rows · group, keys]`, as bf16; row `i` sees `first + i / group + 1` keys.
/// `totals` are the sums of the rounded probabilities.
struct Softmax<'a> {
    scores: &'a mut [f32],
    p: &'a mut [u16],
    totals: &'a mut [f32],
    keys: usize,
    first: usize,
    group: usize,
    scale: f32,
}

impl Kernel for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let rows = self.scores.chunks_exact_mut(self.keys);
        let rows = rows
            .zip(self.p.chunks_exact_mut(self.keys))
            .zip(self.totals);
        for (i, ((scores, p), total)) in rows.enumerate() {
            let seen = self.first + i / self.group + 1;
            (_, *total) = rounded_probabilities(scores, p, seen, self.scale);
        }
    }
}
