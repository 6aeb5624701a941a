//! Every route at every level that this CPU has, against one naive reference on awkward shapes.

use proptest::prelude::*;

use crate::cpu::{Capabilities, detect};
use crate::format::{Format, OperandKind};
use crate::kernels::convert;
use crate::{Operand, PackedMatrix};

mod blocks;
mod transposed;

/// A small generator, so that failures repeat.
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }

    /// Roughly normal, as weights and activations are.
    pub(crate) fn floats(&mut self, count: usize) -> Vec<f32> {
        let one = |noise: &mut Self| noise.next() as f32 / 2f32.powi(32) - 0.5;
        (0..count)
            .map(|_| (0..4).map(|_| one(self)).sum())
            .collect()
    }
}

const LIMITS: [&str; 5] = ["portable", "avx2", "avx512", "avx512bf16", ""];

/// What this CPU can do, at each level.
fn levels() -> Vec<Capabilities> {
    let mut levels: Vec<_> = LIMITS.iter().map(|l| detect().limited(l)).collect();
    levels.dedup();
    levels
}

const SHAPES: [(usize, usize); 12] = [
    (1, 32),
    (15, 32),
    (17, 96),
    (33, 96),
    (16, 576),
    (33, 576),
    (64, 64),
    (65, 1024),
    (96, 576),
    (130, 160),
    (257, 32),
    (80, 2048),
];

const ROWS: [usize; 9] = [1, 2, 7, 15, 16, 17, 33, 50, 70];

const FORMATS: [Format; 7] = [
    Format::F32,
    Format::Bf16,
    Format::Q8_0,
    Format::Q4_0,
    Format::Q4_1,
    Format::Q5_0,
    Format::Q5_1,
];

/// The formats that only files have.
const SUPER_BLOCKS: [Format; 3] = [Format::Q4_K, Format::Q5_K, Format::Q6_K];

/// Where a block has f16 numbers: scales and minima.
fn halves(format: Format) -> &'static [usize] {
    match format {
        Format::F32 | Format::Bf16 => &[],
        Format::Q8_0 | Format::Q4_0 | Format::Q5_0 => &[0],
        Format::Q4_1 | Format::Q5_1 | Format::Q4_K | Format::Q5_K => &[0, 2],
        Format::Q6_K => &[208],
    }
}

/// Random blocks with sane scales.
fn random_blocks(format: Format, n: usize, k: usize, noise: &mut Noise) -> Vec<u8> {
    let size = format.block_bytes();
    let count = n * k / format.block_inputs();
    let mut bytes: Vec<u8> = (0..count * size).map(|_| noise.next() as u8).collect();
    for block in bytes.chunks_exact_mut(size) {
        let scales = noise.floats(2);
        for (at, s) in halves(format).iter().zip(scales) {
            let half = half::f16::from_f32(s / 64.0);
            block[*at..][..2].copy_from_slice(&half.to_le_bytes());
        }
    }
    bytes
}

/// A matrix of random super-blocks in each format that `k` divides into.
fn super_blocks(n: usize, k: usize, noise: &mut Noise) -> Vec<PackedMatrix> {
    let formats = SUPER_BLOCKS.iter().filter(|_| k.is_multiple_of(256));
    let mut pack = |format: &Format| {
        let bytes = random_blocks(*format, n, k, noise);
        PackedMatrix::from_ggml(*format, &bytes, n, k, &|i| i).unwrap()
    };
    formats.map(&mut pack).collect()
}

fn matrices() -> Vec<PackedMatrix> {
    let mut noise = Noise::new(1);
    let mut all = Vec::new();
    for (n, k) in SHAPES {
        let weights = noise.floats(n * k);
        for format in FORMATS {
            all.push(PackedMatrix::from_f32(&weights, n, k, format).unwrap());
        }
        all.extend(super_blocks(n, k, &mut noise));
    }
    // Inputs that are no whole blocks, for the formats that have none.
    for k in [1, 31, 33, 100] {
        let weights = noise.floats(35 * k);
        for format in [Format::F32, Format::Bf16] {
            all.push(PackedMatrix::from_f32(&weights, 35, k, format).unwrap());
        }
    }
    all
}

fn multiply(level: Capabilities, matrix: &PackedMatrix, kind: OperandKind, x: &[f32]) -> Vec<f32> {
    let rows = x.len() / matrix.k();
    let mut operand = Operand::default();
    operand.fill_for(level, kind, x, rows, matrix.k());
    let mut out = vec![f32::NAN; rows * matrix.n()];
    let all = 0..matrix.panels();
    // SAFETY: `out` has `rows` rows of `n`; the level is one that this CPU has.
    unsafe { matrix.multiply_for(level, &operand, all, out.as_mut_ptr(), matrix.n()) };
    out
}

/// Σ x·w and Σ |x·w| in f64, with what the kind of operand makes of `x`.
fn reference(matrix: &PackedMatrix, kind: OperandKind, x: &[f32]) -> Vec<(f64, f64)> {
    let k = matrix.k();
    let mut weights = vec![vec![0f32; k]; matrix.n()];
    for (i, row) in weights.iter_mut().enumerate() {
        matrix.row(i, row);
    }
    let mut out = Vec::new();
    for x in x.chunks(k) {
        let x = seen_as(kind, x);
        for w in &weights {
            let products = x.iter().zip(w).map(|(x, w)| x * f64::from(*w));
            let sum = products.clone().sum::<f64>();
            out.push((sum, products.map(f64::abs).sum()));
        }
    }
    out
}

/// A row as the kernels see it.
fn seen_as(kind: OperandKind, x: &[f32]) -> Vec<f64> {
    match kind {
        OperandKind::F32 => x.iter().map(|x| f64::from(*x)).collect(),
        OperandKind::Bf16 => x
            .iter()
            .map(|x| half::bf16::from_f32(*x).to_f64())
            .collect(),
        OperandKind::Int8 => {
            let blocks = x.as_chunks::<32>().0.iter();
            let dequantise = |block: &[f32; 32]| {
                let (levels, scale) = convert::quantise(block);
                levels.map(|q| f64::from(q) * f64::from(scale.scale))
            };
            blocks.flat_map(dequantise).collect()
        }
    }
}

/// The kinds of operand that a matrix can be multiplied with.
fn kinds(matrix: &PackedMatrix) -> &'static [OperandKind] {
    match matrix.format() {
        Format::F32 => &[OperandKind::F32],
        Format::Bf16 => &[OperandKind::F32, OperandKind::Bf16],
        _ => &[OperandKind::F32, OperandKind::Bf16, OperandKind::Int8],
    }
}

#[test]
fn every_route_is_near_the_naive_product() {
    for matrix in matrices() {
        let x = Noise::new(2).floats(33 * matrix.k());
        for kind in kinds(&matrix) {
            let expected = reference(&matrix, *kind, &x);
            // Dequantised weights are rounded to bf16 beside bf16 activations.
            let rounded = *kind == OperandKind::Bf16 && matrix.format().is_quantised();
            let tolerance = if rounded { 3e-3 } else { 3e-6 };
            for level in levels() {
                for rows in ROWS.iter().filter(|r| **r <= 33) {
                    let found = multiply(level, &matrix, *kind, &x[..rows * matrix.k()]);
                    for (i, found) in found.iter().enumerate() {
                        let (sum, size) = expected[i];
                        assert!(
                            (f64::from(*found) - sum).abs() <= tolerance * size + 1e-30,
                            "{matrix:?} {kind:?} {level} rows {rows} at {i}: {found}, not {sum}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_in_any_company() {
    for matrix in matrices() {
        let (n, k) = (matrix.n(), matrix.k());
        let x = Noise::new(3).floats(70 * k);
        for kind in kinds(&matrix) {
            for level in levels() {
                let all = multiply(level, &matrix, *kind, &x);
                for rows in ROWS {
                    let some = multiply(level, &matrix, *kind, &x[..rows * k]);
                    assert!(
                        some == all[..rows * n],
                        "{matrix:?} {kind:?} {level} {rows}"
                    );
                }
                let reversed: Vec<f32> = x.chunks(k).rev().flatten().copied().collect();
                let backwards = multiply(level, &matrix, *kind, &reversed);
                let back: Vec<f32> = backwards.chunks(n).rev().flatten().copied().collect();
                assert!(back == all, "{matrix:?} {kind:?} {level} reversed");
            }
        }
    }
}

#[test]
fn panels_may_be_split_anywhere_and_nothing_else_is_written() {
    let guard = 77.0;
    for matrix in matrices() {
        let (n, k, rows) = (matrix.n(), matrix.k(), 18);
        let x = Noise::new(4).floats(rows * k);
        for kind in kinds(&matrix) {
            for level in levels() {
                let whole = multiply(level, &matrix, *kind, &x);
                let mut operand = Operand::default();
                operand.fill_for(level, *kind, &x, rows, k);
                let stride = n + 5;
                let mut out = vec![guard; rows * stride];
                for step in [1, 3] {
                    for p in (0..matrix.panels()).step_by(step) {
                        let range = p..(p + step).min(matrix.panels());
                        // SAFETY: `out` has `rows` rows of `stride`, more than `n`.
                        unsafe {
                            matrix.multiply_for(level, &operand, range, out.as_mut_ptr(), stride);
                        }
                    }
                    for (out, whole) in out.chunks(stride).zip(whole.chunks(n)) {
                        assert!(out[..n] == *whole, "{matrix:?} {kind:?} {level} {step}");
                        assert!(out[n..].iter().all(|x| *x == guard), "{matrix:?} {level}");
                    }
                }
            }
        }
    }
}

#[test]
fn integer_products_are_equal_at_all_levels() {
    for matrix in matrices().iter().filter(|m| m.format().is_quantised()) {
        let mut x = Noise::new(5).floats(17 * matrix.k());
        // A zero block, a tiny one, a huge one.
        x[..32].fill(0.0);
        x[matrix.k()] = 1e30;
        x[2 * matrix.k()..][..32].fill(1e-41);
        let mut all = levels()
            .into_iter()
            .map(|l| multiply(l, matrix, OperandKind::Int8, &x));
        let first = all.next().unwrap();
        for other in all {
            assert!(first == other, "{matrix:?}");
        }
    }
}

#[test]
fn f32_products_are_equal_wherever_there_is_fma() {
    for matrix in matrices() {
        let x = Noise::new(6).floats(17 * matrix.k());
        let fused = levels().into_iter().filter(|l| *l != l.limited("portable"));
        let mut all = fused.map(|l| multiply(l, &matrix, OperandKind::F32, &x));
        let Some(first) = all.next() else { return };
        for other in all {
            assert!(first == other, "{matrix:?}");
        }
    }
}

proptest! {
    #[test]
    fn converted_rows_are_equal_at_all_levels(
        x in prop::collection::vec(-1e3f32..1e3, 1..130),
        scale in prop::sample::select(vec![1e-30f32, 1e-3, 1.0, 0.5, 1e20]),
    ) {
        let x: Vec<f32> = x.iter().map(|x| (x * 4.0).round() / 4.0 * scale).collect();
        let portable = levels()[0];
        for level in levels() {
            for (step, bytes) in [(64, 64), (1024, 1024)] {
                let blocks = x.len().div_ceil(32);
                let (mut one, mut two) = (vec![0u8; blocks * bytes], vec![0u8; blocks * bytes]);
                // SAFETY: both have room for every block; the level is one that this CPU has.
                unsafe {
                    convert::to_bf16(portable, &x, one.as_mut_ptr(), step);
                    convert::to_bf16(level, &x, two.as_mut_ptr(), step);
                }
                prop_assert_eq!(&one, &two);
            }
            let mut found = Vec::new();
            for level in [portable, level] {
                let mut operand = Operand::default();
                operand.fill_for(level, OperandKind::Int8, &x, 1, x.len());
                // SAFETY: a filled row of blocks of 48 bytes.
                let bytes = unsafe { std::slice::from_raw_parts(operand.base(), operand.stride()) };
                found.push(bytes.to_vec());
            }
            prop_assert_eq!(&found[0], &found[1]);
        }
    }
}
