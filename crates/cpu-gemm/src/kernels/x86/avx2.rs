//! Integer products with AVX2, half a panel in a register.
//!
//! Four-bit weights go through `vpmaddubsw`, whose 16-bit sums of two products cannot saturate for
//! them; with bytes they could, so those are widened to 16 bits, even and odd inputs apart.

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _mm_load_si128, _mm256_add_epi32, _mm256_and_si256,
    _mm256_cvtepi32_ps, _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_load_ps, _mm256_load_si256,
    _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_mul_ps, _mm256_set1_epi8, _mm256_set1_epi16,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps, _mm256_slli_epi16, _mm256_srai_epi16,
    _mm256_srli_epi16, _mm256_storeu_ps,
};

use super::{Quantised, quantised_formats, with_rows};
use crate::format::{BLOCK, Format, LANES};
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
            let dots = dots::<Q, R>(panel, b, x, stride);
            let head = panel.add(const { Q::FORMAT.layout() }.scales(b));
            for half in 0..2 {
                let (scales, mins) = head_of::<Q>(head, half);
                for r in 0..R {
                    let at = x.add(r * stride + BLOCK).cast::<BlockScale>();
                    let scale = _mm256_mul_ps(scales, _mm256_set1_ps((*at).scale));
                    let dot = _mm256_cvtepi32_ps(dots[r][half]);
                    let sum = _mm256_fmadd_ps(dot, scale, sums[r][half]);
                    let x_sum = _mm256_set1_ps((*at).scaled_sum);
                    sums[r][half] = if Q::MINS {
                        _mm256_fmadd_ps(mins, x_sum, sum)
                    } else {
                        sum
                    };
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

/// Exact sums over block `b` for `R` rows, `stride` bytes apart.
#[inline(always)]
unsafe fn dots<Q: Quantised, const R: usize>(
    panel: *const u8,
    b: usize,
    x: *const u8,
    stride: usize,
) -> [[__m256i; 2]; R] {
    // SAFETY: the panel has block `b`, and each row a block at `x`.
    unsafe {
        let layout = const { Q::FORMAT.layout() };
        let levels = panel.add(layout.levels(b));
        let mut dots = [[_mm256_set1_epi32(0); 2]; R];
        for (r, dots) in dots.iter_mut().enumerate() {
            let scale = x.add(r * stride + BLOCK).cast::<BlockScale>();
            *dots = [_mm256_set1_epi32(match Q::FORMAT {
                Format::Q8_0 => (*scale).minus_128,
                Format::Q4_0 => (*scale).minus_8,
                _ => 0,
            }); 2];
        }
        for quad in 0..BLOCK / 4 {
            let vector = if Q::FORMAT == Format::Q8_0 {
                quad
            } else {
                quad % 4
            };
            for half in 0..2 {
                let from = levels.add(vector * 64 + half * 32);
                let mut w = _mm256_load_si256(from.cast::<__m256i>());
                if Q::FORMAT != Format::Q8_0 {
                    w = if quad < 4 {
                        w
                    } else {
                        _mm256_srli_epi16::<4>(w)
                    };
                    w = _mm256_and_si256(w, _mm256_set1_epi8(15));
                }
                for (r, dots) in dots.iter_mut().enumerate() {
                    let four = x.add(r * stride).cast::<i32>().add(quad).read();
                    let sum = products::<Q>(w, _mm256_set1_epi32(four));
                    dots[half] = _mm256_add_epi32(dots[half], sum);
                }
            }
        }
        dots
    }
}

/// Sums of four products each.
#[inline(always)]
unsafe fn products<Q: Quantised>(w: __m256i, x: __m256i) -> __m256i {
    // SAFETY: AVX2 is the caller's promise.
    unsafe {
        if Q::FORMAT != Format::Q8_0 {
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

/// Scales and minima of half a panel; without minima, zeros.
#[inline(always)]
unsafe fn head_of<Q: Quantised>(head: *const u8, half: usize) -> (__m256, __m256) {
    // SAFETY: the head of a block.
    unsafe {
        if Q::FORMAT == Format::Q4_K {
            let head = head.add(half * 32);
            return (
                _mm256_load_ps(head.cast()),
                _mm256_load_ps(head.add(64).cast()),
            );
        }
        let eight = |from: *const u8| {
            _mm256_cvtph_ps(_mm_load_si128(from.add(half * 16).cast::<__m128i>()))
        };
        let mins = if Q::MINS {
            eight(head.add(32))
        } else {
            _mm256_setzero_ps()
        };
        (eight(head), mins)
    }
}
