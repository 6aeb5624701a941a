//! Floats to ggml's blocks, bit for bit as ggml's reference quantisers make them
//! (`quantize_row_q8_0_ref` and so on to `quantize_row_q5_1_ref`).

use half::f16;

use crate::format::{BLOCK, Format};

/// Appends the blocks of one row. Formats without a quantiser append nothing.
pub(crate) fn quantise_row(format: Format, row: &[f32], out: &mut Vec<u8>) {
    for block in row.as_chunks::<BLOCK>().0 {
        match format {
            Format::Q8_0 => q8_0(block, out),
            Format::Q4_0 => to_negative(block, 4, out),
            Format::Q5_0 => to_negative(block, 5, out),
            Format::Q4_1 => between(block, 4, out),
            Format::Q5_1 => between(block, 5, out),
            Format::F32 | Format::Bf16 | Format::Q4_K | Format::Q5_K | Format::Q6_K => {}
        }
    }
}

fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

fn q8_0(x: &[f32; BLOCK], out: &mut Vec<u8>) {
    let largest = x.iter().fold(0f32, |a, v| a.max(v.abs()));
    let d = largest / 127.0;
    let id = inverse(d);
    out.extend(f16::from_f32(d).to_le_bytes());
    out.extend(x.iter().map(|v| (v * id).round() as i8 as u8));
}

/// `Q4_0` and `Q5_0`: the value of largest magnitude, the first of equals, gets the lowest level.
fn to_negative(x: &[f32; BLOCK], bits: u32, out: &mut Vec<u8>) {
    let (mut largest, mut extreme) = (0f32, 0f32);
    for &v in x {
        if largest < v.abs() {
            (largest, extreme) = (v.abs(), v);
        }
    }
    let zero = f32::from(1u8 << (bits - 1));
    let d = extreme / -zero;
    let id = inverse(d);
    out.extend(f16::from_f32(d).to_le_bytes());
    levels(out, bits, |i| x[i] * id + (zero + 0.5));
}

/// `Q4_1` and `Q5_1`: the smallest value gets level zero, the largest one the highest.
fn between(x: &[f32; BLOCK], bits: u32, out: &mut Vec<u8>) {
    let low = x.iter().fold(f32::MAX, |a, v| a.min(*v));
    let high = x.iter().fold(f32::MIN, |a, v| a.max(*v));
    let d = (high - low) / f32::from((1u8 << bits) - 1);
    let id = inverse(d);
    out.extend(f16::from_f32(d).to_le_bytes());
    out.extend(f16::from_f32(low).to_le_bytes());
    levels(out, bits, |i| (x[i] - low) * id + 0.5);
}

/// The fifth bits if there are any, element `i` at bit `i`. Then sixteen bytes: element `i` in the lower half, element
/// `i + 16` in the upper one.
fn levels(out: &mut Vec<u8>, bits: u32, level: impl Fn(usize) -> f32) {
    const HALF: usize = BLOCK / 2;
    let top = (1u8 << bits) - 1;
    let levels: [u8; BLOCK] = std::array::from_fn(|i| (level(i) as i8 as u8).min(top));
    if bits == 5 {
        let fifths = (0..BLOCK).map(|i| u32::from(levels[i] >> 4) << i);
        out.extend(fifths.sum::<u32>().to_le_bytes());
    }
    out.extend((0..HALF).map(|i| levels[i] & 15 | (levels[i + HALF] & 15) << 4));
}
