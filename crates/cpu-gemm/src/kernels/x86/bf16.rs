//! AVX512-BF16: `vdpbf16ps` adds two products of bf16 to each of 16 sums of f32.

use std::arch::x86_64::{
    __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_load_si512, _mm512_set1_epi32, _mm512_setzero_ps,
};

use super::{narrow, store, with_rows};
use crate::format::{BLOCK, LANES};
use crate::kernels::{Job, scratch};
use crate::operand::{TILE, TILE_ROW};

/// Rows × panels whose sums stay in registers: 24 of the 32, four more for the weights.
const ROWS: usize = 6;
const PANELS: usize = 4;

/// # Safety
/// As for [`crate::kernels::run`], on a CPU with AVX-512 F, BW, VL and BF16; the operand is `Bf16`.
pub(crate) unsafe fn run(job: &Job) {
    let bytes = job.k.next_multiple_of(BLOCK) * 2 * LANES;
    let room = if job.format.is_quantised() {
        PANELS * bytes
    } else {
        0
    };
    scratch::with(room, |scratch| {
        let mut p = job.first;
        while p < job.last {
            let count = match job.last - p {
                PANELS.. => PANELS,
                2 | 3 => 2,
                _ => 1,
            };
            // SAFETY: the panels are the job's, and the scratch has room for them.
            unsafe {
                let from = panels_as_bf16(job, p, count, scratch);
                match count {
                    PANELS => rows::<PANELS>(job, p, from, bytes),
                    2 => rows::<2>(job, p, from, bytes),
                    _ => rows::<1>(job, p, from, bytes),
                }
            }
            p += count;
        }
    });
}

/// Where `count` panels from `p` on are as bf16: in the matrix, or in `scratch`.
///
/// # Safety
/// The panels must be the job's, `scratch` have room for them, and the CPU AVX512-BF16.
pub(super) unsafe fn panels_as_bf16(
    job: &Job,
    p: usize,
    count: usize,
    scratch: *mut u8,
) -> *const u8 {
    if !job.format.is_quantised() {
        return job.panel(p).as_ptr();
    }
    for i in 0..count {
        // SAFETY: the caller's promise; a quantised panel's `k` is a multiple of 32.
        unsafe {
            let to = scratch.add(i * job.k * 2 * LANES);
            narrow::narrow(job.format, job.panel(p + i).as_ptr(), job.k, to);
        }
    }
    scratch
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,avx2,fma")]
unsafe fn rows<const P: usize>(job: &Job, p: usize, panels: *const u8, bytes: usize) {
    let mut row = 0;
    while row < job.rows() {
        let count = ROWS.min(job.rows() - row);
        // SAFETY: panels and rows are the job's.
        unsafe {
            with_rows!(count, [1 2 3 4 5 6], R => tile::<R, P>(job, p, panels, bytes, row));
        }
        row += count;
    }
}

/// `P` panels of bf16, `bytes` each, times `R` rows from `row` on.
#[inline(always)]
unsafe fn tile<const R: usize, const P: usize>(
    job: &Job,
    p: usize,
    panels: *const u8,
    bytes: usize,
    row: usize,
) {
    // SAFETY: panels and operand have all of `k`, padded to a multiple of 32; rows are the job's.
    unsafe {
        let x: [*const u8; R] = std::array::from_fn(|r| {
            let within = (row + r) % 16 * TILE_ROW;
            job.x
                .base()
                .add((row + r) / 16 * job.x.stride() + within)
                .cast_const()
        });
        let mut sums = [[_mm512_setzero_ps(); P]; R];
        for b in 0..job.k.div_ceil(BLOCK) {
            for pair in 0..BLOCK / 2 {
                let w: [__m512bh; P] = std::array::from_fn(|i| {
                    let from = panels.add(i * bytes + b * 1024 + pair * 64);
                    std::mem::transmute::<__m512i, __m512bh>(_mm512_load_si512(from.cast()))
                });
                for (x, sums) in x.iter().zip(&mut sums) {
                    let two = x.add(b * TILE + pair * 4).cast::<i32>().read();
                    let two = std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(two));
                    for (w, sum) in w.iter().zip(sums) {
                        *sum = _mm512_dpbf16_ps(*sum, two, *w);
                    }
                }
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            for (i, sum) in sums.into_iter().enumerate() {
                let to = job.out.add((row + r) * job.stride + (p + i) * LANES);
                store(to, sum, job.columns(p + i));
            }
        }
    }
}
