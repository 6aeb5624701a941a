//! Rows of bf16 and the tiles that products of them want ([`cpu_gemm::tiles`]): 16 pairs of inputs × 16 outputs × 2.

use cpu_gemm::tiles::TileGrid;

use crate::simd::{Kernel, Simd, dispatch};
use crate::training::rows::round_row;

/// Inputs of a tile; rows and widths are padded with zeros to a multiple of this.
pub(super) const STEP: usize = 32;

/// Outputs of a tile.
pub(super) const PANEL: usize = 16;

/// bf16 values of a tile.
pub(super) const TILE: usize = STEP * PANEL;

/// `n` rows of `dim` values, `stride` apart from the start of `from`, as bf16 rows of `width`; padded to whole steps.
pub(super) fn round_rows(
    (from, stride): (&[f32], usize),
    (n, dim): (usize, usize),
    width: usize,
    to: &mut Vec<u16>,
) {
    to.clear();
    to.resize(n.next_multiple_of(STEP) * width, 0);
    for (i, to) in to.chunks_exact_mut(width).take(n).enumerate() {
        let from = &from[i * stride..][..dim];
        round_row(from, &mut to[..dim]);
    }
}

/// Tiles for products over a row's values, with a row for each output (`Q Kᵀ`): those of 16 rows stand together.
pub(super) fn over_columns(rows: &[u16], width: usize, tiles: &mut Vec<u16>) {
    tiles.clear();
    tiles.resize(rows.len(), 0);
    let groups = tiles
        .chunks_exact_mut(PANEL * width)
        .zip(rows.chunks_exact(PANEL * width));
    for (tiles, rows) in groups {
        for (output, row) in rows.chunks_exact(width).enumerate() {
            for (pair, values) in row.as_chunks::<2>().0.iter().enumerate() {
                let at = 2 * (pair * PANEL + output);
                tiles[at..at + 2].copy_from_slice(values);
            }
        }
    }
}

/// The grid of [`over_columns`].
pub(super) fn column_grid(tiles: &[u16], width: usize) -> TileGrid {
    TileGrid {
        tiles: tiles.as_ptr(),
        step_stride: TILE,
        panel_stride: width / STEP * TILE,
    }
}

struct Interleave<'a> {
    first: &'a [u16],
    second: &'a [u16],
    to: &'a mut [u16],
}

impl Kernel for Interleave<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let values = self.first.iter().zip(self.second);
        for (to, (first, second)) in self.to.as_chunks_mut::<2>().0.iter_mut().zip(values) {
            *to = [*first, *second];
        }
    }
}

/// Tiles for products over the rows, with a column for each output (`P V`): those of 32 rows stand together.
pub(super) fn over_rows(rows: &[u16], width: usize, tiles: &mut Vec<u16>) {
    tiles.clear();
    tiles.resize(rows.len(), 0);
    let steps = tiles
        .chunks_exact_mut(STEP * width)
        .zip(rows.chunks_exact(STEP * width));
    for (tiles, rows) in steps {
        for (pair, rows) in rows.chunks_exact(2 * width).enumerate() {
            let (first, second) = rows.split_at(width);
            let values = first.chunks_exact(PANEL).zip(second.chunks_exact(PANEL));
            for (panel, (first, second)) in values.enumerate() {
                let to = &mut tiles[panel * TILE + pair * 2 * PANEL..][..2 * PANEL];
                dispatch(Interleave { first, second, to });
            }
        }
    }
}

/// The grid of tiles that stand as [`over_rows`] puts them: all panels of a step together.
pub(super) fn row_grid(tiles: &[u16], width: usize) -> TileGrid {
    TileGrid {
        tiles: tiles.as_ptr(),
        step_stride: width / PANEL * TILE,
        panel_stride: TILE,
    }
}

/// `[width, padded n]` of `rows: [padded n, width]`.
pub(super) fn transpose(rows: &[u16], width: usize, to: &mut Vec<u16>) {
    let n = rows.len() / width;
    to.clear();
    to.resize(rows.len(), 0);
    for (i, row) in rows.chunks_exact(width).enumerate() {
        for (j, x) in row.iter().enumerate() {
            to[j * n + i] = *x;
        }
    }
}

#[cfg(test)]
mod tests {
    use cpu_gemm::tiles::multiply_tiles;

    use super::*;

    fn wide(x: u16) -> f32 {
        f32::from_bits(u32::from(x) << 16)
    }

    #[test]
    fn both_kinds_of_tiles_give_their_products() {
        let (n, dim, width) = (45, 40, 64);
        let value = |i: usize| ((i * 7919 % 31) as f32 - 15.0) / 8.0;
        let x: Vec<f32> = (0..n * dim).map(value).collect();
        let (mut rows, mut tiles) = (Vec::new(), Vec::new());
        round_rows((&x, dim), (n, dim), width, &mut rows);
        let padded = rows.len() / width;
        assert_eq!(padded, 64);

        over_columns(&rows, width, &mut tiles);
        let mut scores = vec![0f32; n * padded];
        // SAFETY: `rows` has `n` rows of `width`, the tiles cover them all, `scores` has room.
        unsafe {
            multiply_tiles(
                (rows.as_ptr(), width, n),
                column_grid(&tiles, width),
                width / STEP,
                padded / PANEL,
                (scores.as_mut_ptr(), padded),
            );
        }
        for (i, j) in (0..n).flat_map(|i| (0..n).map(move |j| (i, j))) {
            let want: f32 = (0..dim).map(|c| x[i * dim + c] * x[j * dim + c]).sum();
            assert_eq!(scores[i * padded + j], want, "{i} {j}");
        }

        let mut turned = Vec::new();
        transpose(&rows, width, &mut turned);
        over_rows(&rows, width, &mut tiles);
        let mut products = vec![0f32; width * width];
        // SAFETY: as above, with `width` rows of `padded` values.
        unsafe {
            multiply_tiles(
                (turned.as_ptr(), padded, width),
                row_grid(&tiles, width),
                padded / STEP,
                width / PANEL,
                (products.as_mut_ptr(), width),
            );
        }
        for (i, j) in (0..dim).flat_map(|i| (0..dim).map(move |j| (i, j))) {
            let terms = rows
                .chunks_exact(width)
                .map(|row| wide(row[i]) * wide(row[j]));
            assert_eq!(products[i * width + j], terms.sum::<f32>(), "{i} {j}");
        }
    }
}
