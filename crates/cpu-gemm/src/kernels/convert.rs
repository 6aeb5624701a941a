//! Activations to what the kernels read.
//!
//! Plain Rust that vectorises, compiled once for each instruction set: the same bits everywhere.
#![allow(
    clippy::inline_always,
    reason = "bodies must be compiled with their caller's instruction set"
)]

use crate::cpu::Capabilities;
#[cfg(target_arch = "x86_64")]
use crate::cpu::Feature;
use crate::format::BLOCK;
use crate::operand::{BlockScale, INT8_BLOCK};

/// One row to bf16, 32 inputs at a time, `step` bytes from one 32 to the next; the last ones are
/// padded with zeros.
///
/// # Safety
/// `to` must be valid for every block written: 64 bytes at each multiple of `step`; the CPU must
/// have `capabilities`.
pub(crate) unsafe fn to_bf16(capabilities: Capabilities, x: &[f32], to: *mut u8, step: usize) {
    #[cfg(not(target_arch = "x86_64"))]
    let _ = capabilities;
    // SAFETY: the caller's promise.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if capabilities.has(Feature::Avx512) {
            return x86::to_bf16_avx512(x, to, step);
        } else if capabilities.has(Feature::Avx2) {
            return x86::to_bf16_avx2(x, to, step);
        }
        bf16_row(x, to, step);
    }
}

/// One row to blocks of signed bytes, as ggml's `Q8_0` but with the scale in f32.
///
/// # Safety
/// `to` must be valid for 48 bytes for each 32 inputs and aligned to 4; the CPU must have
/// `capabilities`.
pub(crate) unsafe fn to_int8(capabilities: Capabilities, x: &[f32], to: *mut u8) {
    #[cfg(not(target_arch = "x86_64"))]
    let _ = capabilities;
    // SAFETY: the caller's promise.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if capabilities.has(Feature::Avx512) {
            return x86::to_int8_avx512(x, to);
        } else if capabilities.has(Feature::Avx2) {
            return x86::to_int8_avx2(x, to);
        }
        int8_row(x, to);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! The same code for wider registers.
    // SAFETY of each block: promised by `to_bf16` and `to_int8`.
    #![allow(clippy::undocumented_unsafe_blocks)]

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma")]
    pub(super) unsafe fn to_bf16_avx512(x: &[f32], to: *mut u8, step: usize) {
        unsafe { super::bf16_row(x, to, step) }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn to_bf16_avx2(x: &[f32], to: *mut u8, step: usize) {
        unsafe { super::bf16_row(x, to, step) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma")]
    pub(super) unsafe fn to_int8_avx512(x: &[f32], to: *mut u8) {
        unsafe { super::int8_row(x, to) }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn to_int8_avx2(x: &[f32], to: *mut u8) {
        unsafe { super::int8_row(x, to) }
    }
}

/// Block `b`, the last one padded with zeros. (No closures here: they would be compiled without their
/// caller's instruction set.)
#[inline(always)]
fn block(x: &[f32], b: usize) -> [f32; BLOCK] {
    let rest = &x[b * BLOCK..];
    if let Some(whole) = rest.first_chunk::<BLOCK>() {
        return *whole;
    }
    let mut padded = [0f32; BLOCK];
    padded[..rest.len()].copy_from_slice(rest);
    padded
}

#[inline(always)]
unsafe fn bf16_row(x: &[f32], to: *mut u8, step: usize) {
    for b in 0..x.len().div_ceil(BLOCK) {
        let mut values = [0u16; BLOCK];
        for (to, x) in values.iter_mut().zip(&block(x, b)) {
            *to = round_to_bf16(*x);
        }
        // SAFETY: the caller's promise.
        unsafe {
            to.add(b * step)
                .cast::<[u16; BLOCK]>()
                .write_unaligned(values);
        };
    }
}

/// The bits of the nearest bf16, ties to even; a NaN stays one.
#[inline(always)]
fn round_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    let nan = bits & 0x7fff_ffff > 0x7f80_0000;
    (if nan { bits >> 16 | 0x40 } else { rounded }) as u16
}

#[inline(always)]
unsafe fn int8_row(x: &[f32], to: *mut u8) {
    for b in 0..x.len().div_ceil(BLOCK) {
        let (levels, scale) = quantise(&block(x, b));
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
#[inline(always)]
pub(crate) fn quantise(x: &[f32; BLOCK]) -> ([i8; BLOCK], BlockScale) {
    let mut largest = 0;
    for v in x {
        largest = largest.max(v.to_bits() & 0x7fff_ffff);
    }
    let scale = f32::from_bits(largest) / 127.0;
    // A block smaller than what f32 holds with full precision is all zeros.
    let (scale, inverse) = if scale < f32::MIN_POSITIVE {
        (0.0, 0.0)
    } else {
        (scale, 1.0 / scale)
    };
    let mut wide = [0i32; BLOCK];
    for (to, v) in wide.iter_mut().zip(x) {
        *to = round_away(v * inverse);
    }
    let mut levels = [0i8; BLOCK];
    for (to, q) in levels.iter_mut().zip(&wide) {
        *to = *q as i8;
    }
    let (mut first, mut second) = (0, 0);
    for (a, b) in wide[..BLOCK / 2].iter().zip(&wide[BLOCK / 2..]) {
        first += a;
        second += b;
    }
    let sum = first + second;
    let scale = BlockScale {
        scale,
        minus_128: -128 * sum,
        first_minus_32: -32 * first,
        scaled_sum: scale * sum as f32,
    };
    (levels, scale)
}

/// To nearest, halves away from zero, as C's `roundf`. Adding what is just below a half and cutting
/// off does that for every magnitude below 2²²; a NaN becomes zero.
#[inline(always)]
fn round_away(x: f32) -> i32 {
    const BELOW_HALF: f32 = 0.499_999_97;
    let x = if x.is_nan() {
        0.0
    } else {
        x.clamp(-127.0, 127.0)
    };
    // SAFETY: a number between -128 and 128.
    unsafe { (x + BELOW_HALF.copysign(x)).to_int_unchecked() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_like_roundf() {
        let below_half = f32::from_bits(0.5f32.to_bits() - 1);
        for x in [
            0.0,
            0.5,
            below_half,
            1.5,
            1.499_999_9,
            2.5,
            126.5,
            126.499_99,
        ] {
            assert_eq!(round_away(x), x.round() as i32, "{x}");
            assert_eq!(round_away(-x), (-x).round() as i32, "-{x}");
        }
    }

    #[test]
    fn rounds_like_half() {
        let odd = [f32::NAN, f32::INFINITY, -0.0, 1e-41, f32::MAX, f32::MIN];
        let many = (0..1 << 16).map(|i| f32::from_bits(i * 65_521));
        for x in odd.into_iter().chain(many) {
            assert_eq!(round_to_bf16(x), half::bf16::from_f32(x).to_bits(), "{x}");
        }
    }
}
