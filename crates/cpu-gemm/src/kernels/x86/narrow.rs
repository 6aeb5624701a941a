//! Quantised panels to bf16 ones, on the way to `vdpbf16ps` or a tile.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_and_si512, _mm512_cvtepi32_ps, _mm512_cvtne2ps_pbh,
    _mm512_fmadd_ps, _mm512_mul_ps, _mm512_permutexvar_epi16, _mm512_set1_epi32, _mm512_set1_ps,
    _mm512_srli_epi32, _mm512_store_si512,
};

use super::vnni::{Head, unpack};
use super::{Quantised, quantised_formats};
use crate::format::{BLOCK, Format, LANES};

/// A block of 32 inputs × 16 outputs in bf16.
const BLOCK_BYTES: usize = 2 * BLOCK * LANES;

/// Lanes of two vectors of 16 alternately.
const INTERLEAVE: [u16; 32] = {
    let mut lanes = [0; 32];
    let mut i = 0;
    while i < 32 {
        lanes[i] = (i / 2 + i % 2 * 16) as u16;
        i += 1;
    }
    lanes
};

/// A quantised panel as a bf16 one, rounded to nearest even. A weight is computed exactly before it
/// is rounded (with a minimum: rounded to f32 once).
///
/// # Safety
/// `panel` must be a panel of this format with `k` inputs, `out` valid for `32 · k` bytes and aligned
/// to 64. The CPU must have AVX-512 F, BW, VL and BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,avx2,fma")]
pub(crate) unsafe fn narrow(format: Format, panel: *const u8, k: usize, out: *mut u8) {
    quantised_formats!(format, Q => for b in 0..k / BLOCK {
        // SAFETY: the panel has block `b`, and `out` room for it.
        unsafe { one::<Q>(panel, b, out.add(b * BLOCK_BYTES)) };
    });
}

/// Block `b` of it.
///
/// # Safety
/// As for [`narrow`], with room for this block alone.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,avx2,fma")]
pub(crate) unsafe fn block(format: Format, panel: *const u8, b: usize, out: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe { quantised_formats!(format, Q => one::<Q>(panel, b, out)) }
}

#[inline(always)]
unsafe fn one<Q: Quantised>(panel: *const u8, b: usize, out: *mut u8) {
    // SAFETY: the panel has block `b`, and `out` room for it.
    unsafe {
        let head = Head::load::<Q>(panel.add(Q::LAYOUT.scales(b)));
        let minus_zero = _mm512_set1_ps(-f32::from(Q::ZERO));
        let offsets = if Q::MINS {
            [head.mins; 2]
        } else {
            head.scales.map(|scales| _mm512_mul_ps(minus_zero, scales))
        };
        let levels = unpack::<Q>(panel.add(Q::LAYOUT.levels(b)));
        for (i, levels) in levels.into_iter().enumerate() {
            quad(levels, head.scales[i / 4], offsets[i / 4], out.add(i * 128));
        }
    }
}

/// Four inputs of 16 outputs: two vectors of pairs.
#[inline(always)]
unsafe fn quad(levels: __m512i, scales: __m512, offsets: __m512, out: *mut u8) {
    // SAFETY: `out` has room for two vectors; the CPU feature is the caller's promise.
    unsafe {
        let byte = _mm512_set1_epi32(255);
        let weight = |level: __m512i| _mm512_fmadd_ps(_mm512_cvtepi32_ps(level), scales, offsets);
        let first = weight(_mm512_and_si512(levels, byte));
        let second = weight(_mm512_and_si512(_mm512_srli_epi32::<8>(levels), byte));
        let third = weight(_mm512_and_si512(_mm512_srli_epi32::<16>(levels), byte));
        let fourth = weight(_mm512_srli_epi32::<24>(levels));
        _mm512_store_si512(out.cast(), pairs(first, second));
        _mm512_store_si512(out.add(64).cast(), pairs(third, fourth));
    }
}

/// Both as bf16, lane by lane beside each other.
#[inline(always)]
unsafe fn pairs(low: __m512, high: __m512) -> __m512i {
    // SAFETY: the CPU feature is the caller's promise; the constant has 64 bytes.
    unsafe {
        let both = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low));
        let lanes = std::mem::transmute::<[u16; 32], __m512i>(INTERLEAVE);
        _mm512_permutexvar_epi16(lanes, both)
    }
}
