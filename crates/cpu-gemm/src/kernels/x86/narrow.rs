//! Quantised panels to bf16 ones, on the way to `vdpbf16ps` or a tile.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_and_si512, _mm512_cvtepi32_ps, _mm512_cvtne2ps_pbh,
    _mm512_fmadd_ps, _mm512_load_ps, _mm512_load_si512, _mm512_mul_ps, _mm512_permutexvar_epi16,
    _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_ps, _mm512_srli_epi16, _mm512_srli_epi32,
    _mm512_store_si512,
};

use super::vnni::halves;
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
    for b in 0..k / BLOCK {
        // SAFETY: the panel has block `b`, and `out` room for it.
        unsafe { block(format, panel, b, out.add(b * BLOCK_BYTES)) };
    }
}

/// Block `b` of it.
///
/// # Safety
/// As for [`narrow`], with room for this block alone.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,avx2,fma")]
pub(crate) unsafe fn block(format: Format, panel: *const u8, b: usize, out: *mut u8) {
    let layout = format.layout();
    // SAFETY: the panel has block `b`, and `out` room for it.
    unsafe {
        let head = panel.add(layout.scales(b));
        let (scales, offsets) = match format {
            Format::Q4_K => (
                _mm512_load_ps(head.cast()),
                _mm512_load_ps(head.add(64).cast()),
            ),
            Format::Q4_1 => (halves(head), halves(head.add(32))),
            _ => {
                let zero = _mm512_set1_ps(-f32::from(format.zero_level()));
                (halves(head), _mm512_mul_ps(zero, halves(head)))
            }
        };
        let levels = panel.add(layout.levels(b));
        for i in 0..layout.levels / 64 {
            let bytes = _mm512_load_si512(levels.add(i * 64).cast());
            if format == Format::Q8_0 {
                quad(bytes, scales, offsets, out.add(i * 128));
            } else {
                let mask = _mm512_set1_epi8(15);
                let high = _mm512_srli_epi16::<4>(bytes);
                let (low, high) = (_mm512_and_si512(bytes, mask), _mm512_and_si512(high, mask));
                quad(low, scales, offsets, out.add(i * 128));
                quad(high, scales, offsets, out.add((i + 4) * 128));
            }
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
