//! Products of bf16 matrices that are both made at run time: queries with keys, probabilities with
//! values.
//!
//! The right side lies in tiles of 1 KiB, as a packed bf16 panel does: 16 pairs of inputs × 16
//! outputs × 2 values. Who fills such tiles piece by piece (a cache of keys and values) multiplies
//! without packing. Each output is summed over the inputs in order, in f32, whatever `m` is.

// A kernel's body must be compiled with the instructions of the function that it is inlined into.
#![allow(clippy::inline_always)]

#[cfg(target_arch = "x86_64")]
mod amx;

use crate::cpu::{Capabilities, Feature, capabilities};
use crate::format::LANES;

/// Inputs of a tile.
const INPUTS: usize = 32;

/// Where the tiles of the right side lie. Strides are in bf16 values.
#[derive(Clone, Copy, Debug)]
pub struct TileGrid {
    /// The first tile.
    pub tiles: *const u16,
    /// From a tile to the one with the next 32 inputs.
    pub step_stride: usize,
    /// From a tile to the one with the next 16 outputs.
    pub panel_stride: usize,
}

/// `out = A · B`, `A: [m, 32 · steps]` bf16 in rows, `B` of `steps` × `panels` tiles,
/// `out: [m, 16 · panels]` f32.
///
/// `a` is (first value, values from row to row, `m`); `out` is (first value, values from row to row).
///
/// # Safety
/// All of these must be valid for these extents, and nobody else may write them meanwhile.
pub unsafe fn multiply_tiles(
    a: (*const u16, usize, usize),
    b: TileGrid,
    steps: usize,
    panels: usize,
    out: (*mut f32, usize),
) {
    // SAFETY: the caller's promise; `capabilities` says what the CPU has.
    unsafe { run(capabilities(), a, b, (steps, panels), out) }
}

/// # Safety
/// As for [`multiply_tiles`]; `seen` must be no more than what this CPU has.
pub(crate) unsafe fn run(
    seen: Capabilities,
    (a, a_stride, m): (*const u16, usize, usize),
    b: TileGrid,
    (steps, panels): (usize, usize),
    (out, out_stride): (*mut f32, usize),
) {
    let product = Product {
        a,
        a_stride,
        m,
        b,
        steps,
        panels,
        out,
        out_stride,
    };
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller's promise; each function's features have been seen.
    unsafe {
        if seen.has(Feature::AmxBf16) {
            return amx::run(&product);
        } else if seen.has(Feature::Bf16) {
            return with_bf16(&product);
        } else if seen.has(Feature::Avx512) {
            return with_avx512(&product);
        } else if seen.has(Feature::Avx2) {
            return with_avx2(&product);
        }
    }
    let _ = (seen, Feature::Avx2);
    // SAFETY: the caller's promise.
    unsafe { product.widened::<false>() }
}

struct Product {
    a: *const u16,
    a_stride: usize,
    m: usize,
    b: TileGrid,
    steps: usize,
    panels: usize,
    out: *mut f32,
    out_stride: usize,
}

fn widen(x: u16) -> f32 {
    f32::from_bits(u32::from(x) << 16)
}

impl Product {
    /// # Safety
    /// `step` and `panel` must exist.
    unsafe fn tile(&self, step: usize, panel: usize) -> *const u16 {
        // SAFETY: the caller's promise.
        unsafe {
            self.b
                .tiles
                .add(step * self.b.step_stride + panel * self.b.panel_stride)
        }
    }

    /// Without instructions for bf16: both sides as f32.
    ///
    /// # Safety
    /// As for [`multiply_tiles`].
    #[inline(always)]
    unsafe fn widened<const FUSED: bool>(&self) {
        for panel in 0..self.panels {
            for row in 0..self.m {
                let mut sums = [0f32; LANES];
                for step in 0..self.steps {
                    // SAFETY: row, step and panel exist, a tile has 16 pairs × 32 values.
                    unsafe {
                        let a = self.a.add(row * self.a_stride + step * INPUTS);
                        let tile = self.tile(step, panel).cast::<[[u16; 2]; LANES]>();
                        for pair in 0..INPUTS / 2 {
                            let x = [widen(*a.add(2 * pair)), widen(*a.add(2 * pair + 1))];
                            let b = tile.add(pair).read_unaligned();
                            for (sum, b) in sums.iter_mut().zip(b) {
                                *sum = multiply_add::<FUSED>(x[0], widen(b[0]), *sum);
                                *sum = multiply_add::<FUSED>(x[1], widen(b[1]), *sum);
                            }
                        }
                    }
                }
                // SAFETY: row and panel exist.
                unsafe {
                    let to = self.out.add(row * self.out_stride + panel * LANES);
                    to.copy_from_nonoverlapping(sums.as_ptr(), LANES);
                }
            }
        }
    }
}

#[inline(always)]
fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// # Safety
/// As for [`multiply_tiles`]; the CPU must have AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn with_avx2(product: &Product) {
    // SAFETY: the caller's promise.
    unsafe { product.widened::<true>() }
}

/// # Safety
/// As for [`multiply_tiles`]; the CPU must have AVX-512 F, BW and VL.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma")]
unsafe fn with_avx512(product: &Product) {
    // SAFETY: the caller's promise.
    unsafe { product.widened::<true>() }
}

/// Eight rows at a time: enough chains to hide the latency of a dot product.
///
/// # Safety
/// As for [`multiply_tiles`]; the CPU must have AVX512-BF16.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn with_bf16(product: &Product) {
    let mut row = 0;
    while row < product.m {
        let rows = (product.m - row).min(8);
        // SAFETY: these rows exist.
        unsafe {
            match rows {
                8 => bf16_rows::<8>(product, row),
                4..8 => bf16_rows::<4>(product, row),
                2 | 3 => bf16_rows::<2>(product, row),
                _ => bf16_rows::<1>(product, row),
            }
        }
        row += [1, 1, 2, 2, 4, 4, 4, 4, 8][rows];
    }
}

/// # Safety
/// As for [`with_bf16`]; rows `row..row + M` must exist.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn bf16_rows<const M: usize>(product: &Product, row: usize) {
    use std::arch::x86_64::{
        __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_set1_epi32,
        _mm512_setzero_ps, _mm512_storeu_ps,
    };
    // SAFETY: the two types are the same 64 bytes.
    let pairs = |v: __m512i| unsafe { std::mem::transmute::<__m512i, __m512bh>(v) };
    for panel in 0..product.panels {
        let mut sums = [_mm512_setzero_ps(); M];
        for step in 0..product.steps {
            // SAFETY: rows, step and panel exist; a tile has 16 pairs of 64 bytes.
            unsafe {
                let tile = product.tile(step, panel);
                let a = product.a.add(row * product.a_stride + step * INPUTS);
                for pair in 0..INPUTS / 2 {
                    let b = pairs(_mm512_loadu_si512(tile.add(pair * 32).cast()));
                    for (i, sum) in sums.iter_mut().enumerate() {
                        let x = a.add(i * product.a_stride + 2 * pair).cast::<i32>();
                        let x = pairs(_mm512_set1_epi32(x.read_unaligned()));
                        *sum = _mm512_dpbf16_ps(*sum, b, x);
                    }
                }
            }
        }
        for (i, sum) in sums.into_iter().enumerate() {
            // SAFETY: row and panel exist.
            unsafe {
                let to = product
                    .out
                    .add((row + i) * product.out_stride + panel * LANES);
                _mm512_storeu_ps(to, sum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::detect;

    /// A repeatable value with few enough bits that sums are exact in f32.
    fn value(i: usize) -> f32 {
        ((i * 7919 % 31) as f32 - 15.0) / 8.0
    }

    fn bf16(x: f32) -> u16 {
        (x.to_bits() >> 16) as u16
    }

    /// All paths give the exact product, on every shape and with strides of their own.
    #[test]
    fn every_path_is_exact_where_sums_are() {
        for (m, steps, panels) in [
            (1, 1, 1),
            (3, 2, 5),
            (16, 2, 2),
            (17, 1, 3),
            (33, 3, 4),
            (48, 2, 1),
        ] {
            let (k, n) = (steps * 32, panels * 16);
            let (a_stride, panel_stride, out_stride) = (k + 6, steps * 512, n + 3);
            let a: Vec<u16> = (0..m * a_stride).map(|i| bf16(value(i))).collect();
            let b = |p: usize, j: usize| value(p * 1009 + j * 17 + 3);
            let mut tiles = vec![0u16; panels * panel_stride];
            for (p, j) in (0..k).flat_map(|p| (0..n).map(move |j| (p, j))) {
                let at =
                    j / 16 * panel_stride + p / 32 * 512 + p % 32 / 2 * 32 + j % 16 * 2 + p % 2;
                tiles[at] = bf16(b(p, j));
            }
            let grid = TileGrid {
                tiles: tiles.as_ptr(),
                step_stride: 512,
                panel_stride,
            };
            for limit in ["portable", "avx2", "avx512", "avx512bf16", ""] {
                let mut out = vec![f32::NAN; m * out_stride];
                let seen = detect().limited(limit);
                // SAFETY: the buffers have these extents.
                unsafe {
                    run(
                        seen,
                        (a.as_ptr(), a_stride, m),
                        grid,
                        (steps, panels),
                        (out.as_mut_ptr(), out_stride),
                    );
                };
                for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
                    let want: f32 = (0..k).map(|p| widen(a[i * a_stride + p]) * b(p, j)).sum();
                    assert_eq!(out[i * out_stride + j], want, "{limit} {m} {i} {j}");
                }
            }
        }
    }
}
