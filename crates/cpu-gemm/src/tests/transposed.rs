//! Products with the transpose against products with a packed transpose, at every level that this CPU has.

use super::{Noise, kinds, levels, multiply, super_blocks};
use crate::format::{Arithmetic, Format, OperandKind};
use crate::{Operand, PackedMatrix};

/// A matrix, its transpose packed, and the kinds of operand for which both give the same bits.
type BothWays = (PackedMatrix, PackedMatrix, Vec<OperandKind>);

/// `W` and `Wᵀ` of some shapes, packed.
fn plain() -> Vec<BothWays> {
    let mut noise = Noise::new(7);
    let mut all = Vec::new();
    for (n, k) in [
        (1, 1),
        (15, 31),
        (16, 16),
        (17, 33),
        (48, 576),
        (35, 100),
        (192, 65),
        (130, 160),
    ] {
        let rows = noise.floats(n * k);
        let columns: Vec<f32> = (0..n * k).map(|i| rows[i % n * k + i / n]).collect();
        for format in [Format::F32, Format::Bf16] {
            let pack = |values: &[f32], n, k| PackedMatrix::from_f32(values, n, k, format).unwrap();
            let matrix = pack(&rows, n, k);
            let kinds = kinds(&matrix).to_vec();
            all.push((matrix, pack(&columns, k, n), kinds));
        }
    }
    all
}

/// Quantised matrices, and what they are as floats: beside f32 exactly, beside bf16 rounded.
fn quantised() -> Vec<BothWays> {
    let mut noise = Noise::new(11);
    let mut all = Vec::new();
    for (n, k) in [(1, 32), (16, 64), (17, 96), (75, 160), (48, 576), (33, 256)] {
        let weights = noise.floats(n * k);
        let simple = Format::QUANTISED.into_iter().filter(|f| f.has_quantiser());
        let pack = |format| PackedMatrix::from_f32(&weights, n, k, format).unwrap();
        let mut matrices: Vec<_> = simple.map(pack).collect();
        matrices.extend(super_blocks(n, k, &mut noise));
        for matrix in matrices {
            let mut rows = vec![0f32; n * k];
            for (i, row) in rows.chunks_exact_mut(k).enumerate() {
                matrix.row(i, row);
            }
            let columns: Vec<f32> = (0..n * k).map(|i| rows[i % n * k + i / n]).collect();
            for (format, kind) in [
                (Format::F32, OperandKind::F32),
                (Format::Bf16, OperandKind::Bf16),
            ] {
                let transpose = PackedMatrix::from_f32(&columns, k, n, format).unwrap();
                all.push((matrix.clone(), transpose, vec![kind]));
            }
        }
    }
    all
}

#[test]
fn a_transposed_product_is_that_of_the_packed_transpose() {
    same_bits(plain());
}

#[test]
fn a_transposed_product_of_quantised_weights_is_that_of_their_floats() {
    same_bits(quantised());
}

fn same_bits(all: Vec<BothWays>) {
    for (matrix, transpose, kinds) in all {
        let (n, k, rows) = (matrix.n(), matrix.k(), 19);
        let x = Noise::new(8).floats(rows * n);
        for kind in &kinds {
            for level in levels() {
                let expected = multiply(level, &transpose, *kind, &x);
                let mut operand = Operand::default();
                operand.fill_for(level, *kind, &x, rows, n);
                let stride = k + 3;
                let mut out = vec![77.0; rows * stride];
                // In two parts, of which the first may end within a block of 32 inputs.
                let middle = matrix.columns().div_ceil(2) | 1;
                let middle = middle.min(matrix.columns());
                for columns in [0..middle, middle..matrix.columns()] {
                    let panels = 0..matrix.panels();
                    // SAFETY: `out` has `rows` rows of `stride`, more than `k`.
                    unsafe {
                        matrix.transposed_for(
                            level,
                            &operand,
                            panels,
                            columns,
                            out.as_mut_ptr(),
                            stride,
                        );
                    }
                }
                for (out, expected) in out.chunks(stride).zip(expected.chunks(k)) {
                    assert!(out[..k] == *expected, "{matrix:?} {kind:?} {level}");
                    assert!(out[k..].iter().all(|x| *x == 77.0), "{matrix:?} {level}");
                }
            }
        }
    }
}

#[test]
fn some_outputs_of_a_transposed_product_are_those_of_their_rows() {
    let (n, k, rows) = (75, 40, 7);
    let weights = Noise::new(9).floats(n * k);
    for format in [Format::F32, Format::Bf16] {
        let matrix = PackedMatrix::from_f32(&weights, n, k, format).unwrap();
        for panels in [0..2, 1..3, 3..5, 4..5] {
            let outputs = panels.start * 16..(panels.end * 16).min(n);
            let part = &weights[outputs.start * k..outputs.end * k];
            let part = PackedMatrix::from_f32(part, outputs.len(), k, format).unwrap();
            let x = Noise::new(10).floats(rows * outputs.len());
            let mut operand = Operand::default();
            operand.fill(
                matrix.operand_kind(Arithmetic::Float),
                &x,
                rows,
                outputs.len(),
            );
            let (mut whole, mut some) = (vec![0.0; rows * k], vec![0.0; rows * k]);
            part.multiply_transposed(&operand, &mut whole);
            let columns = 0..matrix.columns();
            // SAFETY: `some` has `rows` rows of `k`.
            unsafe {
                matrix.multiply_transposed_panels(
                    &operand,
                    panels.clone(),
                    columns,
                    some.as_mut_ptr(),
                    k,
                );
            }
            assert!(whole == some, "{format} {panels:?}");
        }
    }
}
