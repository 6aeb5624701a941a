//! Integer products with AVX2, half a panel in a register.
//!
//! Weights of up to six bits go through `vpmaddubsw`, whose 16-bit sums of two products cannot saturate
//! for them; with bytes they could, so those are widened to 16 bits, even and odd inputs apart.

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _mm_load_si128, _mm_loadl_epi64, _mm256_add_epi32, _mm256_and_si256,
    _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps, _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_load_ps,
    _mm256_load_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_mul_ps, _mm256_or_si256,
    _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps,
    _mm256_slli_epi16, _mm256_srai_epi16, _mm256_srli_epi16, _mm256_storeu_ps,
};

use super::{Quantised, quantised_formats, with_rows};
use crate::format::{BLOCK, LANES, Scales};
use crate::kernels::Job;
use crate::operand::{BlockScale, INT8_BLOCK};

/// Rows that share a pass over a panel.
const ROWS: usize = 4;

/// # Safety
/// As for [`crate::kernels::run`], on a CPU with AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn run(job: &Job) {
    // SAFETY: the caller's promise.
    unsafe { quantised_formats!(job.format, Q => panels::<Q>(job)) }
}

#[inline(always)]
unsafe fn panels<Q: Quantised>(job: &Job) {
    for p in job.panels() {
        let mut row = 0;
        while row < job.rows() {
            let rows = ROWS.min(job.rows() - row);
            // SAFETY: panel and rows are the job's.
            unsafe { with_rows!(rows, [1 2 3 4], R => tile::<Q, R>(job, p, row)) };
            row += rows;
        }
    }
}

/// One panel times `R` rows from `row` on.
#[inline(always)]
unsafe fn tile<Q: Quantised, const R: usize>(job: &Job, p: usize, row: usize) {
    // SAFETY: the job's panel has blocks for all of `k`, and its operand `R` rows of blocks.
    unsafe {
        let panel = job.panel(p).as_ptr();
        let stride = job.x.stride();
        let mut sums = [[_mm256_setzero_ps(); 2]; R];
        for b in 0..job.k / BLOCK {
            let x = job.x.base().add(row * stride + b * INT8_BLOCK).cast_const();
            let dots = dots::<Q, R>(panel.add(Q::LAYOUT.levels(b)), x, stride);
            let head = panel.add(Q::LAYOUT.scales(b));
            for side in 0..2 {
                let (scales, mins) = head_of::<Q>(head, side);
                for r in 0..R {
                    let at = x.add(r * stride + BLOCK).cast::<BlockScale>();
                    let sum = &mut sums[r][side];
                    for half in 0..if Q::HALVES { 2 } else { 1 } {
                        let scale = _mm256_mul_ps(scales[half], _mm256_set1_ps((*at).scale));
                        let dot = _mm256_cvtepi32_ps(dots[half][r][side]);
                        *sum = _mm256_fmadd_ps(dot, scale, *sum);
                    }
                    if Q::MINS {
                        let x_sum = _mm256_set1_ps((*at).scaled_sum);
                        *sum = _mm256_fmadd_ps(mins, x_sum, *sum);
                    }
                }
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            let mut values = [0f32; LANES];
            _mm256_storeu_ps(values.as_mut_ptr(), sums[0]);
            _mm256_storeu_ps(values.as_mut_ptr().add(8), sums[1]);
            job.store(row + r, p, &values);
        }
    }
}

/// Exact sums over a block for `R` rows, `stride` bytes apart: over either half of the inputs where [`Quantised::HALVES`]
/// is, else over all of them in the first place.
#[inline(always)]
unsafe fn dots<Q: Quantised, const R: usize>(
    levels: *const u8,
    x: *const u8,
    stride: usize,
) -> [[[__m256i; 2]; R]; 2] {
    // SAFETY: the levels of a block, and each row has a block at `x`.
    unsafe {
        let mut dots = [[[_mm256_set1_epi32(0); 2]; R]; 2];
        for (half, dots) in dots.iter_mut().enumerate() {
            for (r, dots) in dots.iter_mut().enumerate() {
                let scale = x.add(r * stride + BLOCK).cast::<BlockScale>();
                *dots = [_mm256_set1_epi32(starts::<Q>(&*scale)[half]); 2];
            }
        }
        for quad in 0..BLOCK / 4 {
            let dots = &mut dots[if Q::HALVES { quad / 4 } else { 0 }];
            for side in 0..2 {
                let w = quad_of::<Q>(levels.add(side * 32), quad);
                for (r, dots) in dots.iter_mut().enumerate() {
                    let four = x.add(r * stride).cast::<i32>().add(quad).read();
                    let sum = products::<Q>(w, _mm256_set1_epi32(four));
                    dots[side] = _mm256_add_epi32(dots[side], sum);
                }
            }
        }
        dots
    }
}

/// Where the sums begin, so that they end without the levels' offset.
#[inline(always)]
fn starts<Q: Quantised>(scale: &BlockScale) -> [i32; 2] {
    match Q::ZERO {
        0 => [0; 2],
        32 => [
            scale.first_minus_32,
            (scale.minus_128 >> 2) - scale.first_minus_32,
        ],
        zero => [scale.minus_128 >> (7 - zero.trailing_zeros()), 0],
    }
}

/// The levels of a quad of inputs as bytes, 8 outputs.
#[inline(always)]
unsafe fn quad_of<Q: Quantised>(levels: *const u8, quad: usize) -> __m256i {
    // SAFETY: the levels of a block, halves of vectors aligned to 32.
    unsafe {
        let load = |i: usize| _mm256_load_si256(levels.add(i * 64).cast::<__m256i>());
        if Q::LAYOUT.bits == 8 {
            return load(quad);
        }
        let low = if quad < 4 {
            load(quad)
        } else {
            _mm256_srli_epi16::<4>(load(quad - 4))
        };
        let low = _mm256_and_si256(low, _mm256_set1_epi8(15));
        let (upper, mask) = match Q::LAYOUT.bits {
            5 => (to_bit_4(load(4), quad), 16),
            6 => (to_bit_4(load(4 + quad / 4), quad % 4 * 2), 48),
            _ => return low,
        };
        _mm256_or_si256(low, _mm256_and_si256(upper, _mm256_set1_epi8(mask)))
    }
}

/// Bit `bit` of each byte at bit 4, and those above it above that; other bits are not cleared.
#[inline(always)]
unsafe fn to_bit_4(x: __m256i, bit: usize) -> __m256i {
    // SAFETY: AVX2 is the caller's promise.
    unsafe {
        match bit {
            0 => _mm256_slli_epi16::<4>(x),
            1 => _mm256_slli_epi16::<3>(x),
            2 => _mm256_slli_epi16::<2>(x),
            3 => _mm256_slli_epi16::<1>(x),
            4 => x,
            5 => _mm256_srli_epi16::<1>(x),
            6 => _mm256_srli_epi16::<2>(x),
            _ => _mm256_srli_epi16::<3>(x),
        }
    }
}

/// Sums of four products each.
#[inline(always)]
unsafe fn products<Q: Quantised>(w: __m256i, x: __m256i) -> __m256i {
    // SAFETY: AVX2 is the caller's promise.
    unsafe {
        if Q::LAYOUT.bits < 8 {
            return _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1));
        }
        let (even, odd) = (
            _mm256_and_si256(w, _mm256_set1_epi16(255)),
            _mm256_srli_epi16::<8>(w),
        );
        let x_even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(x));
        let x_odd = _mm256_srai_epi16::<8>(x);
        _mm256_add_epi32(
            _mm256_madd_epi16(even, x_even),
            _mm256_madd_epi16(odd, x_odd),
        )
    }
}

/// Scales of either half of the inputs and minima, or zeros, of half a panel.
#[inline(always)]
unsafe fn head_of<Q: Quantised>(head: *const u8, side: usize) -> ([__m256; 2], __m256) {
    // SAFETY: the head of a block.
    unsafe {
        let halves = |from: *const u8| {
            _mm256_cvtph_ps(_mm_load_si128(from.add(side * 16).cast::<__m128i>()))
        };
        let singles = |from: *const u8| _mm256_load_ps(from.add(side * 32).cast());
        let bytes = |from: *const u8| {
            let eight = _mm_loadl_epi64(from.add(side * 8).cast());
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eight))
        };
        let none = _mm256_setzero_ps();
        match Q::LAYOUT.scales {
            Scales::Halves => ([halves(head); 2], none),
            Scales::HalvesAndMins => ([halves(head); 2], halves(head.add(32))),
            Scales::SinglesAndMins => ([singles(head); 2], singles(head.add(64))),
            Scales::Products => {
                let product = |factors| _mm256_mul_ps(halves(head), bytes(factors));
                ([product(head.add(32)), product(head.add(32 + LANES))], none)
            }
        }
    }
}
