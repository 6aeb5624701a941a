//! AVX-512 VNNI: `vpdpbusd` adds four products of unsigned weights and signed activations to each
//! of 16 sums.
//!
//! The eight vectors of a panel's block stay in registers while up to eight rows pass by: a row's
//! inputs are broadcast from memory, four at a time. One row reads the weights once, in order.

use std::arch::x86_64::{
    __m256i, __m512, __m512i, _MM_HINT_T0, _mm_load_si128, _mm_prefetch, _mm256_load_si256,
    _mm512_and_si512, _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps, _mm512_cvtph_ps,
    _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_load_ps, _mm512_load_si512, _mm512_mul_ps,
    _mm512_or_si512, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_setzero_si512, _mm512_slli_epi16, _mm512_srai_epi32, _mm512_srli_epi16,
    _mm512_sub_epi32,
};

use super::{Quantised, quantised_formats, store, with_rows};
use crate::format::{BLOCK, LANES, Scales};
use crate::kernels::Job;
use crate::operand::{BlockScale, INT8_BLOCK};

/// Rows that share a pass over a panel: with eight weight vectors, that many pairs of sums fit.
const ROWS: usize = 8;

/// How far ahead of its use a line of weights is asked for.
const AHEAD: usize = 2048;

/// # Safety
/// As for [`crate::kernels::run`], on a CPU with AVX-512 F, BW, VL and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma")]
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
            unsafe { with_rows!(rows, [1 2 3 4 5 6 7 8], R => tile::<Q, R>(job, p, row)) };
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
        let x: [*const u8; R] =
            std::array::from_fn(|r| job.x.base().add((row + r) * stride).cast_const());
        let mut sums = [_mm512_setzero_ps(); R];
        for b in 0..job.k / BLOCK {
            let block = Block::load::<Q>(panel, b);
            for (x, sum) in x.iter().zip(&mut sums) {
                *sum = block.add::<Q>(x.add(b * INT8_BLOCK), *sum);
            }
        }
        for (r, sum) in sums.into_iter().enumerate() {
            let to = job.out.add((row + r) * job.stride + p * 16);
            store(to, sum, job.columns(p));
        }
    }
}

/// A panel's block in registers.
struct Block {
    levels: [__m512i; 8],
    head: Head,
}

impl Block {
    #[inline(always)]
    unsafe fn load<Q: Quantised>(panel: *const u8, b: usize) -> Self {
        // SAFETY: the panel has block `b`; prefetching needs no valid address.
        unsafe {
            let head = panel.add(Q::LAYOUT.scales(b));
            let levels = panel.add(Q::LAYOUT.levels(b));
            prefetch::<Q>(head, levels);
            Self {
                levels: unpack::<Q>(levels),
                head: Head::load::<Q>(head),
            }
        }
    }

    /// Adds this block's product with one row's block.
    #[inline(always)]
    unsafe fn add<Q: Quantised>(&self, x: *const u8, sum: __m512) -> __m512 {
        // SAFETY: the row has this block: 32 levels and their scale.
        unsafe {
            let scale = x.add(BLOCK).cast::<BlockScale>();
            let mut dots = starts::<Q>(scale);
            for (quad, w) in self.levels.iter().enumerate() {
                let four = _mm512_set1_epi32(x.cast::<i32>().add(quad).read());
                let dot = &mut dots[if Q::HALVES { quad / 4 } else { 0 }];
                *dot = _mm512_dpbusd_epi32(*dot, *w, four);
            }
            self.head.add::<Q>(dots, scale, sum)
        }
    }
}

/// Where the exact sums over a row's block begin, so that they end without the levels' offset. Formats with one scale for
/// a block have one sum.
#[inline(always)]
pub(super) unsafe fn starts<Q: Quantised>(scale: *const BlockScale) -> [__m512i; 2] {
    // SAFETY: a row's block.
    unsafe {
        let zero = _mm512_setzero_si512();
        if Q::ZERO == 0 {
            return [zero; 2];
        }
        let minus_128 = _mm512_set1_epi32((*scale).minus_128);
        match Q::ZERO {
            8 => [_mm512_srai_epi32::<4>(minus_128), zero],
            16 => [_mm512_srai_epi32::<3>(minus_128), zero],
            32 => {
                let first = _mm512_set1_epi32((*scale).first_minus_32);
                let both = _mm512_srai_epi32::<2>(minus_128);
                [first, _mm512_sub_epi32(both, first)]
            }
            _ => [minus_128, zero],
        }
    }
}

/// The head of a block: scales for either half of the inputs, the same ones but for [`Quantised::HALVES`], and minima or zeros.
pub(super) struct Head {
    pub(super) scales: [__m512; 2],
    pub(super) mins: __m512,
}

impl Head {
    #[inline(always)]
    pub(super) unsafe fn load<Q: Quantised>(head: *const u8) -> Self {
        // SAFETY: the head of a block.
        unsafe {
            let (scales, mins) = match Q::LAYOUT.scales {
                Scales::Halves => ([halves(head); 2], _mm512_setzero_ps()),
                Scales::HalvesAndMins => ([halves(head); 2], halves(head.add(32))),
                Scales::SinglesAndMins => {
                    let mins = _mm512_load_ps(head.add(64).cast());
                    ([_mm512_load_ps(head.cast()); 2], mins)
                }
                Scales::Products => {
                    let product = |factors| _mm512_mul_ps(halves(head), bytes(factors));
                    let both = [product(head.add(32)), product(head.add(32 + LANES))];
                    (both, _mm512_setzero_ps())
                }
            };
            Self { scales, mins }
        }
    }

    /// Adds exact sums over a row's block, scaled.
    #[inline(always)]
    pub(super) unsafe fn add<Q: Quantised>(
        &self,
        dots: [__m512i; 2],
        scale: *const BlockScale,
        mut sum: __m512,
    ) -> __m512 {
        // SAFETY: a row's block.
        unsafe {
            let x = _mm512_set1_ps((*scale).scale);
            let first = _mm512_mul_ps(self.scales[0], x);
            sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[0]), first, sum);
            if Q::HALVES {
                let second = _mm512_mul_ps(self.scales[1], x);
                sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[1]), second, sum);
            }
            if !Q::MINS {
                return sum;
            }
            _mm512_fmadd_ps(self.mins, _mm512_set1_ps((*scale).scaled_sum), sum)
        }
    }
}

/// Asks for what stands as far ahead as a block that will be read soon.
#[inline(always)]
pub(super) fn prefetch<Q: Quantised>(head: *const u8, levels: *const u8) {
    let lines = |from: *const u8, bytes: usize| {
        for line in (0..bytes).step_by(64) {
            // SAFETY: prefetching needs no valid address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(AHEAD + line).cast()) };
        }
    };
    lines(head, Q::LAYOUT.head);
    lines(levels, Q::LAYOUT.levels);
}

/// Sixteen f16 values, widened.
#[inline(always)]
pub(super) unsafe fn halves(from: *const u8) -> __m512 {
    // SAFETY: heads hold 16 halves at multiples of 32 bytes.
    unsafe { _mm512_cvtph_ps(_mm256_load_si256(from.cast::<__m256i>())) }
}

/// Sixteen signed bytes as floats.
#[inline(always)]
unsafe fn bytes(from: *const u8) -> __m512 {
    // SAFETY: heads hold 16 bytes at multiples of 16.
    unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_load_si128(from.cast()))) }
}

/// The levels of a block as bytes: quads of inputs, 16 outputs each.
#[inline(always)]
pub(super) unsafe fn unpack<Q: Quantised>(levels: *const u8) -> [__m512i; 8] {
    // SAFETY: the block has this many bytes, each vector aligned to 64.
    unsafe {
        let load = |i: usize| _mm512_load_si512(levels.add(i * 64).cast());
        if Q::LAYOUT.bits == 8 {
            return std::array::from_fn(load);
        }
        let mask = _mm512_set1_epi8(15);
        let low = std::array::from_fn(|quad| {
            let bytes = load(quad % 4);
            let shifted = if quad < 4 {
                bytes
            } else {
                _mm512_srli_epi16::<4>(bytes)
            };
            _mm512_and_si512(shifted, mask)
        });
        let (upper, mask) = match Q::LAYOUT.bits {
            5 => (fifth_bits(load(4)), _mm512_set1_epi8(16)),
            6 => (two_bits(load(4), load(5)), _mm512_set1_epi8(48)),
            _ => return low,
        };
        std::array::from_fn(|quad| _mm512_or_si512(low[quad], _mm512_and_si512(upper[quad], mask)))
    }
}

/// Bit `quad` of each byte at bit 4; other bits are not cleared.
#[inline(always)]
unsafe fn fifth_bits(x: __m512i) -> [__m512i; 8] {
    // SAFETY: AVX-512 BW is the caller's promise.
    unsafe {
        [
            _mm512_slli_epi16::<4>(x),
            _mm512_slli_epi16::<3>(x),
            _mm512_slli_epi16::<2>(x),
            _mm512_slli_epi16::<1>(x),
            x,
            _mm512_srli_epi16::<1>(x),
            _mm512_srli_epi16::<2>(x),
            _mm512_srli_epi16::<3>(x),
        ]
    }
}

/// Pairs of bits at bits 4 and 5, four quads from each vector; other bits are not cleared.
#[inline(always)]
unsafe fn two_bits(first: __m512i, second: __m512i) -> [__m512i; 8] {
    // SAFETY: AVX-512 BW is the caller's promise.
    let four = |x| unsafe {
        [
            _mm512_slli_epi16::<4>(x),
            _mm512_slli_epi16::<2>(x),
            x,
            _mm512_srli_epi16::<2>(x),
        ]
    };
    let ([a, b, c, d], [e, f, g, h]) = (four(first), four(second));
    [a, b, c, d, e, f, g, h]
}
