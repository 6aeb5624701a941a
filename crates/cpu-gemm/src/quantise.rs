//! Floats to ggml's blocks, bit for bit as ggml's reference quantisers make them
//! (`quantize_row_q8_0_ref`, `quantize_row_q4_0_ref`, `quantize_row_q4_1_ref`).

use half::f16;

use crate::format::{BLOCK, Format};

/// Appends the blocks of one row. Formats other than `Q8_0`, `Q4_0` and `Q4_1` append nothing.
pub(crate) fn quantise_row(format: Format, row: &[f32], out: &mut Vec<u8>) {
    for block in row.as_chunks::<BLOCK>().0 {
        match format {
            Format::Q8_0 => q8_0(block, out),
            Format::Q4_0 => q4_0(block, out),
            Format::Q4_1 => q4_1(block, out),
            Format::F32 | Format::Bf16 | Format::Q4_K => {}
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

fn q4_0(x: &[f32; BLOCK], out: &mut Vec<u8>) {
    // The value of largest magnitude, the first of equals, becomes -8.
    let (mut largest, mut extreme) = (0f32, 0f32);
    for &v in x {
        if largest < v.abs() {
            (largest, extreme) = (v.abs(), v);
        }
    }
    let d = extreme / -8.0;
    let id = inverse(d);
    out.extend(f16::from_f32(d).to_le_bytes());
    nibbles(out, |i| x[i] * id + 8.5);
}

fn q4_1(x: &[f32; BLOCK], out: &mut Vec<u8>) {
    let low = x.iter().fold(f32::MAX, |a, v| a.min(*v));
    let high = x.iter().fold(f32::MIN, |a, v| a.max(*v));
    let d = (high - low) / 15.0;
    let id = inverse(d);
    out.extend(f16::from_f32(d).to_le_bytes());
    out.extend(f16::from_f32(low).to_le_bytes());
    nibbles(out, |i| (x[i] - low) * id + 0.5);
}

/// Sixteen bytes: element `i` in the lower half, element `i + 16` in the upper one.
fn nibbles(out: &mut Vec<u8>, level: impl Fn(usize) -> f32) {
    let four_bits = |i: usize| (level(i) as i8 as u8).min(15);
    out.extend((0..BLOCK / 2).map(|i| four_bits(i) | four_bits(i + BLOCK / 2) << 4));
}
