//! Activations to what the kernels read.

use half::bf16;

use crate::cpu::Capabilities;
use crate::format::BLOCK;
use crate::operand::{BlockScale, INT8_BLOCK};

/// One row to bf16, 32 inputs at a time, `step` bytes from one 32 to the next; the last ones are
/// padded with zeros.
///
/// # Safety
/// `to` must be valid for every block written: 64 bytes at each multiple of `step`.
pub(crate) unsafe fn to_bf16(_capabilities: Capabilities, x: &[f32], to: *mut u8, step: usize) {
    for (b, block) in x.chunks(BLOCK).enumerate() {
        let mut values = [bf16::ZERO; BLOCK];
        for (to, from) in values.iter_mut().zip(block) {
            *to = bf16::from_f32(*from);
        }
        // SAFETY: the caller's promise; `bf16` is two plain bytes.
        unsafe {
            to.add(b * step)
                .cast::<[bf16; BLOCK]>()
                .write_unaligned(values);
        };
    }
}

/// One row to blocks of signed bytes, as ggml's `Q8_0` but with the scale in f32.
///
/// # Safety
/// `to` must be valid for 48 bytes for each 32 inputs, and aligned to 4.
pub(crate) unsafe fn to_int8(_capabilities: Capabilities, x: &[f32], to: *mut u8) {
    for (b, block) in x.chunks(BLOCK).enumerate() {
        let mut padded = [0f32; BLOCK];
        padded[..block.len()].copy_from_slice(block);
        let (levels, scale) = quantise(&padded);
        // SAFETY: the caller's promise.
        unsafe {
            let to = to.add(b * INT8_BLOCK);
            to.cast::<[i8; BLOCK]>().write(levels);
            to.add(BLOCK).cast::<BlockScale>().write(scale);
        }
    }
}

/// The largest magnitude decides the scale. Its bits are compared as integers, so that a NaN wins
/// and reaches every product with the block.
pub(crate) fn quantise(x: &[f32; BLOCK]) -> ([i8; BLOCK], BlockScale) {
    let largest = x.iter().fold(0, |a, v| a.max(v.to_bits() & 0x7fff_ffff));
    let (scale, inverse) = scale_and_inverse(f32::from_bits(largest));
    let levels = x.map(|v| (v * inverse).round() as i8);
    let sum = levels.iter().map(|q| i32::from(*q)).sum();
    (levels, block_scale(scale, sum))
}

/// A block smaller than what f32 holds with full precision is all zeros.
pub(crate) fn scale_and_inverse(largest: f32) -> (f32, f32) {
    let scale = largest / 127.0;
    if scale < f32::MIN_POSITIVE {
        (0.0, 0.0)
    } else {
        (scale, 1.0 / scale)
    }
}

pub(crate) fn block_scale(scale: f32, sum: i32) -> BlockScale {
    BlockScale {
        scale,
        minus_128: -128 * sum,
        minus_8: -8 * sum,
        scaled_sum: scale * sum as f32,
    }
}
