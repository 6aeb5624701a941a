//! Blocks as a file may hold them: with every bit set, with scales that are no numbers, with any bytes at all.

use proptest::prelude::*;

use super::{Noise, halves, kinds, levels, multiply, random_blocks, reference};
use crate::PackedMatrix;
use crate::format::{Format, OperandKind};

const N: usize = 19;
const K: usize = 512;

fn pack(format: Format, bytes: &[u8]) -> PackedMatrix {
    PackedMatrix::from_ggml(format, bytes, N, K, &|i| i).unwrap()
}

/// Sets the f16 numbers of one block, or of all.
fn set_halves(format: Format, blocks: &mut [u8], value: f32) {
    for block in blocks.chunks_exact_mut(format.block_bytes()) {
        for at in halves(format) {
            block[*at..][..2].copy_from_slice(&half::f16::from_f32(value).to_le_bytes());
        }
    }
}

#[test]
fn levels_and_factors_at_their_ends_are_exact_at_every_level() {
    let mut ends = Vec::new();
    for byte in [0x00, 0xff, 0x80, 0x7f] {
        ends.extend(Format::QUANTISED.map(|format| (format, byte)));
    }
    for (format, byte) in ends {
        let mut bytes = vec![byte; N * K / format.block_inputs() * format.block_bytes()];
        set_halves(format, &mut bytes, 0.125);
        let matrix = pack(format, &bytes);
        // The largest magnitudes of either sign, so that sums of 16 bits would overflow if they could.
        let signs = [
            [1.0; K],
            [-1.0; K],
            std::array::from_fn(|i| 1.0 - 2.0 * (i % 2) as f32),
        ];
        let x: Vec<f32> = signs.concat().iter().map(|s| s * 127.0).collect();
        let expected = reference(&matrix, OperandKind::Int8, &x);
        for level in levels() {
            for (found, (sum, size)) in multiply(level, &matrix, OperandKind::Int8, &x)
                .into_iter()
                .zip(&expected)
            {
                let off = (f64::from(found) - sum).abs();
                assert!(
                    off <= 3e-6 * size,
                    "{format} {byte:#x} {level}: {found}, not {sum}"
                );
            }
        }
    }
}

#[test]
fn a_scale_that_is_no_number_spoils_its_output_and_no_other() {
    let mut noise = Noise::new(21);
    for format in Format::QUANTISED {
        let clean = random_blocks(format, N, K, &mut noise);
        let row = clean.len() / N;
        let x = Noise::new(22).floats(5 * K);
        for value in [f32::NAN, f32::INFINITY] {
            let mut bytes = clean.clone();
            let block = &mut bytes[17 * row..][..format.block_bytes()];
            // Factors and levels that are not zero: infinity times zero would do as well, but not everywhere.
            block.fill(0x77);
            set_halves(format, block, value);
            let (spoilt, clean) = (pack(format, &bytes), pack(format, &clean));
            for kind in kinds(&spoilt) {
                for level in levels() {
                    let found = multiply(level, &spoilt, *kind, &x);
                    let expected = multiply(level, &clean, *kind, &x);
                    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                        if i % N == 17 {
                            assert!(!found.is_finite(), "{format} {kind:?} {level}: {found}");
                        } else {
                            assert_eq!(found, expected, "{format} {kind:?} {level}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn packed_blocks_take_as_many_bits_as_the_documentation_says() {
    let bits = [8.5, 4.5, 5.0, 5.5, 6.0, 6.0, 7.0, 7.0];
    for (format, bits) in Format::QUANTISED.into_iter().zip(bits) {
        let weights = (16 * K) as f64;
        assert_eq!(
            PackedMatrix::size(format, 16, K) as f64 * 8.0 / weights,
            bits,
            "{format}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever a file holds, all levels say the same: the same bits, or no number.
    #[test]
    fn any_bytes_are_multiplied_alike_at_all_levels(
        format in prop::sample::select(Format::QUANTISED.to_vec()),
        seed in any::<u64>(),
    ) {
        let mut noise = Noise::new(seed);
        let count = N * K / format.block_inputs() * format.block_bytes();
        let bytes: Vec<u8> = (0..count).map(|_| noise.next() as u8).collect();
        let matrix = pack(format, &bytes);
        let x = noise.floats(17 * K);
        let portable = multiply(levels()[0], &matrix, OperandKind::Int8, &x);
        for level in levels() {
            let found = multiply(level, &matrix, OperandKind::Int8, &x);
            for (found, expected) in found.iter().zip(&portable) {
                let same = found.to_bits() == expected.to_bits()
                    || found.is_nan() && expected.is_nan();
                prop_assert!(same, "{format} {level}: {found}, not {expected}");
            }
        }
    }
}
