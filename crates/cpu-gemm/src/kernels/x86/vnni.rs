//! AVX-512 VNNI: `vpdpbusd` adds four products of unsigned weights and signed activations to each
//! of 16 sums.
//!
//! The eight vectors of a panel's block stay in registers while up to eight rows pass by: a row's
//! inputs are broadcast from memory, four at a time. One row reads the weights once, in order.

use std::arch::x86_64::{
    __m256i, __m512, __m512i, _MM_HINT_T0, _mm_prefetch, _mm256_load_si256, _mm512_and_si512,
    _mm512_cvtepi32_ps, _mm512_cvtph_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_load_ps,
    _mm512_load_si512, _mm512_mul_ps, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_setzero_si512, _mm512_srli_epi16,
};

use super::{Quantised, quantised_formats, store, with_rows};
use crate::format::{BLOCK, Format};
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
    scales: __m512,
    mins: __m512,
}

impl Block {
    #[inline(always)]
    unsafe fn load<Q: Quantised>(panel: *const u8, b: usize) -> Self {
        let layout = const { Q::FORMAT.layout() };
        // SAFETY: the panel has block `b`; prefetching needs no valid address.
        unsafe {
            let head = panel.add(layout.scales(b));
            let levels = panel.add(layout.levels(b));
            prefetch::<Q>(head, levels);
            let (scales, mins) = head_of::<Q>(head);
            Self {
                levels: unpack::<Q>(levels),
                scales,
                mins,
            }
        }
    }

    /// Adds this block's product with one row's block.
    #[inline(always)]
    unsafe fn add<Q: Quantised>(&self, x: *const u8, sum: __m512) -> __m512 {
        // SAFETY: the row has this block: 32 levels and their scale.
        unsafe {
            let scale = x.add(BLOCK).cast::<BlockScale>();
            let mut dot = match Q::FORMAT {
                Format::Q8_0 => _mm512_set1_epi32((*scale).minus_128),
                Format::Q4_0 => _mm512_set1_epi32((*scale).minus_8),
                _ => _mm512_setzero_si512(),
            };
            for (quad, w) in self.levels.iter().enumerate() {
                let four = _mm512_set1_epi32(x.cast::<i32>().add(quad).read());
                dot = _mm512_dpbusd_epi32(dot, *w, four);
            }
            let scales = _mm512_mul_ps(self.scales, _mm512_set1_ps((*scale).scale));
            let sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scales, sum);
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
    let layout = const { Q::FORMAT.layout() };
    let lines = |from: *const u8, bytes: usize| {
        for line in (0..bytes).step_by(64) {
            // SAFETY: prefetching needs no valid address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(AHEAD + line).cast()) };
        }
    };
    lines(head, layout.head);
    lines(levels, layout.levels);
}

/// Scales and minima of a block; without minima, zeros.
#[inline(always)]
pub(super) unsafe fn head_of<Q: Quantised>(head: *const u8) -> (__m512, __m512) {
    // SAFETY: the head of a block.
    unsafe {
        match Q::FORMAT {
            Format::Q4_K => (
                _mm512_load_ps(head.cast()),
                _mm512_load_ps(head.add(64).cast()),
            ),
            Format::Q4_1 => (halves(head), halves(head.add(32))),
            _ => (halves(head), _mm512_setzero_ps()),
        }
    }
}

/// Sixteen f16 values, widened.
#[inline(always)]
pub(super) unsafe fn halves(from: *const u8) -> __m512 {
    // SAFETY: heads hold 16 halves at multiples of 32 bytes.
    unsafe { _mm512_cvtph_ps(_mm256_load_si256(from.cast::<__m256i>())) }
}

/// The levels of a block as bytes: quads of inputs, 16 outputs each.
#[inline(always)]
pub(super) unsafe fn unpack<Q: Quantised>(levels: *const u8) -> [__m512i; 8] {
    // SAFETY: the block has this many bytes, each vector aligned to 64.
    unsafe {
        let load = |i: usize| _mm512_load_si512(levels.add(i * 64).cast());
        if Q::FORMAT == Format::Q8_0 {
            return std::array::from_fn(load);
        }
        let mask = _mm512_set1_epi8(15);
        std::array::from_fn(|quad| {
            let bytes = load(quad % 4);
            let shifted = if quad < 4 {
                bytes
            } else {
                _mm512_srli_epi16::<4>(bytes)
            };
            _mm512_and_si512(shifted, mask)
        })
    }
}
