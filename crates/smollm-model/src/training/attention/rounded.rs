//! Attention whose products take bf16 and sum in f32. Softmax and its gradient are f32.

use std::cell::RefCell;

use cpu_gemm::tiles::{TileGrid, multiply_tiles};

use super::tiles::{
    PANEL, STEP, TILE, column_grid, over_columns, over_rows, round_rows, row_grid, transpose,
};
use super::{KeyGradients, Layout, Seen, Task};
use crate::buffer::grow;
use crate::ops::math::{exp, rounded_probabilities, sum, to_bf16};
use crate::simd::{Kernel, Simd, dispatch};
use crate::training::rows::add_row;

/// Queries of one tile: whole steps of the products over them.
const QUERIES: usize = 64;

/// Buffers of a thread.
#[derive(Default)]
struct Scratch {
    /// Queries, keys, values and `dO` as rows.
    q: Vec<u16>,
    k: Vec<u16>,
    v: Vec<u16>,
    dout: Vec<u16>,
    /// Keys and values with a row for each output, and with a column for each.
    k_columns: Vec<u16>,
    v_columns: Vec<u16>,
    key_rows: Vec<u16>,
    /// A tile of queries or of `dO`, transposed.
    turned: Vec<u16>,
    scores: Vec<f32>,
    d_scores: Vec<f32>,
    /// Probabilities or `dS` as rows; both as tiles over the rows.
    rows: Vec<u16>,
    p_tiles: Vec<u16>,
    ds_tiles: Vec<u16>,
    out: Vec<f32>,
    part: Vec<f32>,
    dk: Vec<f32>,
    dv: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// `out = a · b`, `a: [m, 32 · steps]`, `out: [m, 16 · panels]`, both without gaps.
fn product(a: &[u16], m: usize, b: TileGrid, (steps, panels): (usize, usize), out: &mut [f32]) {
    assert!(a.len() >= m * steps * STEP && out.len() >= m * panels * PANEL);
    let a = (a.as_ptr(), steps * STEP, m);
    // SAFETY: rows and sums lie inside the slices; the callers' grids cover these steps and panels.
    unsafe { multiply_tiles(a, b, steps, panels, (out.as_mut_ptr(), panels * PANEL)) };
}

/// Gives each row's output and log-sum-exp to `store`.
pub(super) fn forward(
    layout: Layout,
    qkv: &[f32],
    task: &Task,
    store: &dyn Fn(usize, &[f32], f32),
) {
    SCRATCH.with_borrow_mut(|scratch| scratch.forward(layout, qkv, task, store));
}

/// Gives each row's `dq` to `store` and returns the rest.
pub(super) fn backward(
    layout: Layout,
    seen: &Seen<'_>,
    task: &Task,
    store: &dyn Fn(usize, &[f32]),
) -> KeyGradients {
    SCRATCH.with_borrow_mut(|scratch| scratch.backward(layout, seen, task, store))
}

impl Scratch {
    /// The head's queries, keys and values as bf16 rows; returns their width.
    fn round(&mut self, layout: Layout, qkv: &[f32], task: &Task) -> usize {
        let (stride, dim, head) = (layout.width(), layout.heads.dim, task.head);
        let (n, width) = (task.tokens.len(), dim.next_multiple_of(STEP));
        let qkv = &qkv[task.tokens.start * stride..task.tokens.end * stride];
        for (column, to) in [
            (layout.query(head), &mut self.q),
            (layout.key(head), &mut self.k),
            (layout.value(head), &mut self.v),
        ] {
            round_rows((&qkv[column..], stride), (n, dim), width, to);
        }
        width
    }

    fn forward(
        &mut self,
        layout: Layout,
        qkv: &[f32],
        task: &Task,
        store: &dyn Fn(usize, &[f32], f32),
    ) {
        let (n, dim) = (task.tokens.len(), layout.heads.dim);
        let width = self.round(layout, qkv, task);
        over_columns(&self.k, width, &mut self.k_columns);
        over_rows(&self.v, width, &mut self.key_rows);
        let of_dim = (width / STEP, width / PANEL);
        for start in (0..n).step_by(QUERIES) {
            let m = QUERIES.min(n - start);
            let keys = (start + m).next_multiple_of(STEP);
            let scores = grow(&mut self.scores, m * keys);
            let k = column_grid(&self.k_columns, width);
            let q = &self.q[start * width..];
            product(q, m, k, (of_dim.0, keys / PANEL), scores);
            let p = grow(&mut self.rows, m * keys);
            let (lse, totals) = dispatch(Softmax {
                scores,
                p,
                keys,
                first: start,
                scale: 1.0 / (dim as f32).sqrt(),
            });
            let out = grow(&mut self.out, m * width);
            let v = row_grid(&self.key_rows, width);
            product(p, m, v, (keys / STEP, of_dim.1), out);
            for (i, row) in out.chunks_exact_mut(width).enumerate() {
                let inverse = 1.0 / totals[i];
                for x in row.iter_mut() {
                    *x *= inverse;
                }
                store(start + i, &row[..dim], lse[i]);
            }
        }
    }

    fn backward(
        &mut self,
        layout: Layout,
        seen: &Seen<'_>,
        task: &Task,
        store: &dyn Fn(usize, &[f32]),
    ) -> KeyGradients {
        let (n, dim, head) = (task.tokens.len(), layout.heads.dim, task.head);
        let query_width = layout.heads.query_width();
        let width = self.round(layout, seen.qkv, task);
        let of_head = task.tokens.start * query_width + head * dim;
        let (dout, out) = (&seen.dout[of_head..], &seen.out[of_head..]);
        round_rows((dout, query_width), (n, dim), width, &mut self.dout);
        over_columns(&self.k, width, &mut self.k_columns);
        over_columns(&self.v, width, &mut self.v_columns);
        over_rows(&self.k, width, &mut self.key_rows);
        let padded = n.next_multiple_of(STEP);
        grow(&mut self.dk, width * padded).fill(0.0);
        grow(&mut self.dv, width * padded).fill(0.0);
        let lse = &seen.lse[head * (seen.qkv.len() / layout.width()) + task.tokens.start..];
        for start in (0..n).step_by(QUERIES) {
            let m = QUERIES.min(n - start);
            let tile = Tile {
                start,
                m,
                keys: (start + m).next_multiple_of(STEP),
                width,
                dim,
            };
            let from = start * query_width;
            let rows = ((&dout[from..], &out[from..]), query_width);
            self.scores(tile, rows, &lse[start..]);
            let dq = grow(&mut self.out, m * width);
            let k = row_grid(&self.key_rows, width);
            let extent = (tile.keys / STEP, width / PANEL);
            product(&self.rows, m, k, extent, dq);
            for (i, row) in dq.chunks_exact(width).enumerate() {
                store(start + i, &row[..dim]);
            }
            self.key_gradients(tile, padded);
        }
        let rows = |sums: &[f32]| transposed(&sums[..dim * padded], padded);
        KeyGradients {
            dk: rows(&self.dk),
            dv: rows(&self.dv),
        }
    }

    /// `P` and `dS` of a tile of queries: as tiles both, `dS` as rows, too.
    fn scores(
        &mut self,
        tile: Tile,
        ((dout, out), stride): ((&[f32], &[f32]), usize),
        lse: &[f32],
    ) {
        let Tile {
            start,
            m,
            keys,
            width,
            dim,
        } = tile;
        let extent = (width / STEP, keys / PANEL);
        let scores = grow(&mut self.scores, m * keys);
        let k = column_grid(&self.k_columns, width);
        product(&self.q[start * width..], m, k, extent, scores);
        let d_scores = grow(&mut self.d_scores, m * keys);
        let v = column_grid(&self.v_columns, width);
        product(&self.dout[start * width..], m, v, extent, d_scores);
        let padded = m.next_multiple_of(STEP);
        dispatch(ScoreGradient {
            scores,
            d_scores,
            rows: grow(&mut self.rows, m * keys),
            p_tiles: grow(&mut self.p_tiles, padded * keys),
            ds_tiles: grow(&mut self.ds_tiles, padded * keys),
            m,
            keys,
            first: start,
            scale: 1.0 / (dim as f32).sqrt(),
            lse,
            dout,
            out,
            stride,
            dim,
        });
    }

    /// Adds the tile's `dKᵀ = Qᵀ dS` and `dVᵀ = dOᵀ P`, `[width, keys]`, to the sums, rows of `padded`.
    fn key_gradients(&mut self, tile: Tile, padded: usize) {
        let Tile {
            start,
            m,
            keys,
            width,
            ..
        } = tile;
        let queries = m.next_multiple_of(STEP);
        for (left, right, sums) in [
            (&self.q, &self.ds_tiles, &mut self.dk),
            (&self.dout, &self.p_tiles, &mut self.dv),
        ] {
            let left = &left[start * width..(start + queries) * width];
            transpose(left, width, &mut self.turned);
            let part = grow(&mut self.part, width * keys);
            let extent = (queries / STEP, keys / PANEL);
            product(&self.turned, width, row_grid(right, keys), extent, part);
            let sums = sums.chunks_exact_mut(padded);
            for (part, sums) in part.chunks_exact(keys).zip(sums) {
                add_row(part, &mut sums[..keys]);
            }
        }
    }
}

/// Some queries and the keys that they see.
#[derive(Clone, Copy)]
struct Tile {
    start: usize,
    m: usize,
    /// Padded to whole steps.
    keys: usize,
    /// Padded features.
    width: usize,
    dim: usize,
}

/// Unnormalised probabilities of raw scores `[rows, keys]`, as bf16; row `i` sees `first + i + 1` keys. Gives each row's
/// log-sum-exp and the sum of its rounded probabilities.
struct Softmax<'a> {
    scores: &'a [f32],
    p: &'a mut [u16],
    keys: usize,
    first: usize,
    scale: f32,
}

impl Kernel for Softmax<'_> {
    type Output = ([f32; QUERIES], [f32; QUERIES]);

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> Self::Output {
        let (mut lse, mut totals) = ([0f32; QUERIES], [0f32; QUERIES]);
        let rows = self.scores.chunks_exact(self.keys);
        let rows = rows.zip(self.p.chunks_exact_mut(self.keys));
        for (i, (scores, p)) in rows.enumerate() {
            let seen = self.first + i + 1;
            let (top, total) = rounded_probabilities(scores, p, seen, self.scale);
            (totals[i], lse[i]) = (total, top + total.ln());
        }
        (lse, totals)
    }
}

/// `P = exp(S − lse)` and `dS = P ∘ (dP − D) / √d` from raw scores and `dP`, `[m, keys]` each, whose memory they take.
/// Formulas: [`crate::ops::attention()`].
struct ScoreGradient<'a> {
    scores: &'a mut [f32],
    d_scores: &'a mut [f32],
    /// `dS`, `[m, keys]`.
    rows: &'a mut [u16],
    /// `P` and `dS` as tiles over the rows.
    p_tiles: &'a mut [u16],
    ds_tiles: &'a mut [u16],
    m: usize,
    keys: usize,
    first: usize,
    scale: f32,
    lse: &'a [f32],
    /// Rows of `dO` and `O`, `stride` apart.
    dout: &'a [f32],
    out: &'a [f32],
    stride: usize,
    dim: usize,
}

impl ScoreGradient<'_> {
    /// Row `i` of both, in f32.
    #[inline(always)]
    fn row(&mut self, i: usize) {
        let out = &self.out[i * self.stride..][..self.dim];
        let dout = &self.dout[i * self.stride..][..self.dim];
        let d = sum(self.dim, |c| dout[c] * out[c]);
        let (lse, seen, scale) = (self.lse[i], self.first + i + 1, self.scale);
        let p = &mut self.scores[i * self.keys..][..self.keys];
        let ds = &mut self.d_scores[i * self.keys..][..self.keys];
        for (p, ds) in p[..seen].iter_mut().zip(&mut ds[..seen]) {
            *p = exp(*p * scale - lse);
            *ds = *p * (*ds - d) * scale;
        }
        p[seen..].fill(0.0);
        ds[seen..].fill(0.0);
        for (to, ds) in self.rows[i * self.keys..][..self.keys].iter_mut().zip(ds) {
            *to = to_bf16(*ds);
        }
    }

    /// Rows `2 · pair` and the next as tiles.
    #[inline(always)]
    fn tiles(&mut self, pair: usize) {
        let (panels, keys) = (self.keys / PANEL, self.keys);
        let step = pair * 2 / STEP;
        for (from, tiles) in [
            (&*self.scores, &mut *self.p_tiles),
            (&*self.d_scores, &mut *self.ds_tiles),
        ] {
            for panel in 0..panels {
                let at = (step * panels + panel) * TILE + pair % (STEP / 2) * 2 * PANEL;
                let to = &mut tiles[at..at + 2 * PANEL];
                let column = |row: usize| {
                    let whole = row * keys + panel * PANEL;
                    from.get(whole..whole + PANEL).filter(|_| row < self.m)
                };
                let to = to.as_chunks_mut::<2>().0.iter_mut();
                match (column(2 * pair), column(2 * pair + 1)) {
                    (Some(first), Some(second)) => {
                        for (to, (first, second)) in to.zip(first.iter().zip(second)) {
                            *to = [to_bf16(*first), to_bf16(*second)];
                        }
                    }
                    (Some(first), None) => {
                        for (to, first) in to.zip(first) {
                            *to = [to_bf16(*first), 0];
                        }
                    }
                    _ => to.for_each(|to| *to = [0, 0]),
                }
            }
        }
    }
}

impl Kernel for ScoreGradient<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        for pair in 0..self.m.next_multiple_of(STEP) / 2 {
            for i in 2 * pair..(2 * pair + 2).min(self.m) {
                self.row(i);
            }
            self.tiles(pair);
        }
    }
}

/// The transpose of a row-major matrix with `cols` columns.
fn transposed(matrix: &[f32], cols: usize) -> Vec<f32> {
    const BLOCK: usize = 32;
    let rows = matrix.len() / cols;
    let mut out = vec![0f32; matrix.len()];
    for first_row in (0..rows).step_by(BLOCK) {
        for first_col in (0..cols).step_by(BLOCK) {
            for r in first_row..(first_row + BLOCK).min(rows) {
                for c in first_col..(first_col + BLOCK).min(cols) {
                    out[c * rows + r] = matrix[r * cols + c];
                }
            }
        }
    }
    out
}
