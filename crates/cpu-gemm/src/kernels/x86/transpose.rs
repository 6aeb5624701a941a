//! Blocks turned in registers.

use std::arch::x86_64::{
    __m512i, _mm512_load_si512, _mm512_set_epi8, _mm512_shuffle_epi8, _mm512_shuffle_i64x2,
    _mm512_store_si512, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32,
    _mm512_unpacklo_epi64,
};

use crate::format::LANES;

/// A block of f32, see [`crate::kernels::transpose::words`].
///
/// # Safety
/// Both must be valid for 256 values and aligned to 64, on a CPU with AVX-512 F and BW.
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) unsafe fn words(from: *const f32, to: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe {
        let rows: [__m512i; LANES] =
            std::array::from_fn(|k| _mm512_load_si512(from.add(k * LANES).cast()));
        // Two inputs of an output become one word of 64 bits; outputs 0 1 4 5 … and 2 3 6 7 … part.
        let low = std::array::from_fn(|i| _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]));
        let high = std::array::from_fn(|i| _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]));
        for (lanes, first) in [(doubles(low), 0), (doubles(high), 2)] {
            for (i, lane) in lanes.into_iter().enumerate() {
                let output = first + i / 2 * 4 + i % 2;
                _mm512_store_si512(to.add(output * LANES).cast(), lane);
            }
        }
    }
}

/// A block of bf16, see [`crate::kernels::transpose::pairs`].
///
/// # Safety
/// Both must be valid for 128 words and aligned to 64, on a CPU with AVX-512 F and BW.
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) unsafe fn pairs(from: *const u32, to: *mut u32) {
    // Of two outputs with two inputs each, the inputs change places with the outputs.
    #[rustfmt::skip]
    let turn = _mm512_set_epi8(
        15, 14, 11, 10, 13, 12, 9, 8, 7, 6, 3, 2, 5, 4, 1, 0,
        15, 14, 11, 10, 13, 12, 9, 8, 7, 6, 3, 2, 5, 4, 1, 0,
        15, 14, 11, 10, 13, 12, 9, 8, 7, 6, 3, 2, 5, 4, 1, 0,
        15, 14, 11, 10, 13, 12, 9, 8, 7, 6, 3, 2, 5, 4, 1, 0,
    );
    // SAFETY: the caller's promise.
    unsafe {
        let rows = std::array::from_fn(|pair| {
            _mm512_shuffle_epi8(_mm512_load_si512(from.add(pair * LANES).cast()), turn)
        });
        for (pair, lane) in doubles(rows).into_iter().enumerate() {
            _mm512_store_si512(to.add(pair * LANES).cast(), lane);
        }
    }
}

/// 8 × 8 words of 64 bits, turned.
///
/// # Safety
/// The CPU must have AVX-512 F.
#[inline(always)]
unsafe fn doubles(rows: [__m512i; 8]) -> [__m512i; 8] {
    // SAFETY: the caller's promise.
    unsafe {
        // Lanes 2c and 2c+1 of each part of 128 bits, of rows 2i and 2i+1.
        let even: [__m512i; 4] =
            std::array::from_fn(|i| _mm512_unpacklo_epi64(rows[2 * i], rows[2 * i + 1]));
        let odd: [__m512i; 4] =
            std::array::from_fn(|i| _mm512_unpackhi_epi64(rows[2 * i], rows[2 * i + 1]));
        let mut out = rows;
        for (parity, parts) in [even, odd].into_iter().enumerate() {
            // 4 × 4 parts of 128 bits, turned.
            let ab = _mm512_shuffle_i64x2::<0b10_00_10_00>(parts[0], parts[1]);
            let cd = _mm512_shuffle_i64x2::<0b10_00_10_00>(parts[2], parts[3]);
            let ab_odd = _mm512_shuffle_i64x2::<0b11_01_11_01>(parts[0], parts[1]);
            let cd_odd = _mm512_shuffle_i64x2::<0b11_01_11_01>(parts[2], parts[3]);
            out[parity] = _mm512_shuffle_i64x2::<0b10_00_10_00>(ab, cd);
            out[4 + parity] = _mm512_shuffle_i64x2::<0b11_01_11_01>(ab, cd);
            out[2 + parity] = _mm512_shuffle_i64x2::<0b10_00_10_00>(ab_odd, cd_odd);
            out[6 + parity] = _mm512_shuffle_i64x2::<0b11_01_11_01>(ab_odd, cd_odd);
        }
        out
    }
}
