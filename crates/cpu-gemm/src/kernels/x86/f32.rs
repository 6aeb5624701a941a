//! f32 products with FMA, AVX-512 and AVX2: one chain of fused additions for each output, in the
//! order of the inputs, so both give the same bits.

use std::arch::x86_64::{
    __m256, __m512, _mm256_fmadd_ps, _mm256_load_ps, _mm256_set1_ps, _mm256_setzero_ps,
    _mm256_storeu_ps, _mm512_fmadd_ps, _mm512_load_ps, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_storeu_ps,
};

use super::with_rows;
use crate::format::{BLOCK, Format, LANES};
use crate::kernels::{Job, block, scratch};
use crate::operand::F32_GROUP;

/// A register of f32.
trait Lanes {
    type V: Copy;
    /// Values in it.
    const COUNT: usize;
    unsafe fn zero() -> Self::V;
    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(from: *const f32) -> Self::V;
    unsafe fn store(to: *mut f32, v: Self::V);
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
}

struct Avx512;
struct Avx2;

macro_rules! lanes {
    ($name:ident, $v:ty, $count:literal, $zero:ident $splat:ident $load:ident $store:ident $fma:ident) => {
        // SAFETY of each block: the CPU feature and the pointers are promised by the callers.
        #[allow(clippy::undocumented_unsafe_blocks)]
        impl Lanes for $name {
            type V = $v;
            const COUNT: usize = $count;
            #[inline(always)]
            unsafe fn zero() -> $v {
                unsafe { $zero() }
            }
            #[inline(always)]
            unsafe fn splat(x: f32) -> $v {
                unsafe { $splat(x) }
            }
            #[inline(always)]
            unsafe fn load(from: *const f32) -> $v {
                unsafe { $load(from) }
            }
            #[inline(always)]
            unsafe fn store(to: *mut f32, v: $v) {
                unsafe { $store(to, v) }
            }
            #[inline(always)]
            unsafe fn fma(a: $v, b: $v, c: $v) -> $v {
                unsafe { $fma(a, b, c) }
            }
        }
    };
}
lanes!(Avx512, __m512, 16, _mm512_setzero_ps _mm512_set1_ps _mm512_load_ps _mm512_storeu_ps _mm512_fmadd_ps);
lanes!(Avx2, __m256, 8, _mm256_setzero_ps _mm256_set1_ps _mm256_load_ps _mm256_storeu_ps _mm256_fmadd_ps);

/// Panels that are multiplied together, as f32.
#[derive(Clone, Copy)]
struct Panels {
    first: usize,
    weights: *const f32,
    /// Values from panel to panel.
    stride: usize,
}

/// # Safety
/// As for [`crate::kernels::run`], on a CPU with AVX-512 F, BW, VL, AVX2, FMA and F16C.
pub(crate) unsafe fn avx512(job: &Job) {
    // SAFETY: the caller's promise.
    unsafe { each(job, 2, |p, count, room| rows_avx512(job, p, count, room)) }
}

/// # Safety
/// As for [`crate::kernels::run`], on a CPU with AVX2, FMA and F16C.
pub(crate) unsafe fn avx2(job: &Job) {
    // SAFETY: the caller's promise.
    unsafe { each(job, 1, |p, _, room| rows_avx2(job, p, room)) }
}

/// [`block::widen_block`] with wide registers.
///
/// # Safety
/// The CPU must have AVX-512 F, BW, VL, AVX2, FMA and F16C.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
pub(crate) unsafe fn widen_block_avx512(
    format: Format,
    panel: &[u8],
    b: usize,
    out: &mut [[f32; LANES]; BLOCK],
) {
    block::widen_block(format, panel, b, out);
}

/// [`block::widen_block`] with wide registers.
///
/// # Safety
/// The CPU must have AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn widen_block_avx2(
    format: Format,
    panel: &[u8],
    b: usize,
    out: &mut [[f32; LANES]; BLOCK],
) {
    block::widen_block(format, panel, b, out);
}

/// Calls `rows` for the job's panels, `group` at a time, with room to widen them.
unsafe fn each(job: &Job, group: usize, rows: impl Fn(usize, usize, *mut f32)) {
    let bytes = if job.format == Format::F32 {
        0
    } else {
        group * job.k * LANES * 4
    };
    scratch::with(bytes, |room| {
        for p in (job.first..job.last).step_by(group) {
            rows(p, group.min(job.last - p), room.cast());
        }
    });
}

/// Where `count` panels from `p` on are as f32: in the matrix, or in `room`.
#[inline(always)]
unsafe fn widened(job: &Job, p: usize, count: usize, room: *mut f32) -> Panels {
    let stride = job.k * LANES;
    let mut panels = Panels {
        first: p,
        weights: room,
        stride,
    };
    if job.format == Format::F32 {
        panels.weights = job.panel(p).as_ptr().cast();
        return panels;
    }
    for i in 0..count {
        // SAFETY: `room` holds the panels of a group; the values are written before they are read.
        unsafe {
            let to = room.add(i * stride);
            to.write_bytes(0, stride);
            let to = std::slice::from_raw_parts_mut(to, stride);
            block::widen(job.format, job.panel(p + i), job.k, to);
        }
    }
    panels
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
unsafe fn rows_avx512(job: &Job, p: usize, count: usize, room: *mut f32) {
    // SAFETY: the caller's promise; the panels are the job's.
    unsafe {
        let panels = widened(job, p, count, room);
        let mut row = 0;
        while row < job.rows() {
            let rows = (2 * F32_GROUP).min(job.rows() - row);
            if count == 2 {
                with_rows!(rows, [1 2 3 4 5 6 7 8 9 10 11 12], R => tile::<Avx512, R, 2>(job, panels, row));
            } else {
                with_rows!(rows, [1 2 3 4 5 6 7 8 9 10 11 12], R => tile::<Avx512, R, 1>(job, panels, row));
            }
            row += rows;
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn rows_avx2(job: &Job, p: usize, room: *mut f32) {
    // SAFETY: the caller's promise; the panel is the job's.
    unsafe {
        let panels = widened(job, p, 1, room);
        let mut row = 0;
        while row < job.rows() {
            let rows = F32_GROUP.min(job.rows() - row);
            with_rows!(rows, [1 2 3 4 5 6], R => tile::<Avx2, R, 2>(job, panels, row));
            row += rows;
        }
    }
}

/// `V` registers of outputs times `R` rows from `row` on, a multiple of [`F32_GROUP`].
#[inline(always)]
unsafe fn tile<L: Lanes, const R: usize, const V: usize>(job: &Job, panels: Panels, row: usize) {
    // SAFETY: panels and operand have all of `k`; rows and panels are the job's.
    unsafe {
        let w: [*const f32; V] = std::array::from_fn(|v| {
            let lane = v * L::COUNT;
            panels
                .weights
                .add(lane / LANES * panels.stride + lane % LANES)
        });
        let x = job.x.base().cast::<f32>().cast_const();
        let group = job.x.stride() / 4;
        let x = [
            x.add(row / F32_GROUP * group),
            x.wrapping_add((row / F32_GROUP + 1) * group),
        ];
        let mut sums = [[L::zero(); V]; R];
        for k in 0..job.k {
            let w: [L::V; V] = std::array::from_fn(|v| L::load(w[v].add(k * LANES)));
            for (r, sums) in sums.iter_mut().enumerate() {
                let from = x[r / F32_GROUP].add(k * F32_GROUP + r % F32_GROUP);
                let x = L::splat(*from);
                for (w, sum) in w.iter().zip(sums) {
                    *sum = L::fma(x, *w, *sum);
                }
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            for (v, sum) in sums.into_iter().enumerate() {
                let column = panels.first * LANES + v * L::COUNT;
                let to = job.out.wrapping_add((row + r) * job.stride + column);
                if column + L::COUNT <= job.n {
                    L::store(to, sum);
                } else if column < job.n {
                    let mut values = [0f32; LANES];
                    L::store(values.as_mut_ptr(), sum);
                    std::ptr::copy_nonoverlapping(values.as_ptr(), to, job.n - column);
                }
            }
        }
    }
}
