//! Integer products of several rows in tiles: 16 rows × 32 bytes times 32 bytes × 16 outputs.
//!
//! A tile product covers one block, since each block has scales of its own. So the exact sums go
//! through memory, four blocks at a time, and AVX-512 does the rest, in the same order and with the
//! same operations as the VNNI kernel: the same bits, in less than half the instructions.

use std::arch::asm;
use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_cvtepi32_ps, _mm512_fmadd_ps, _mm512_load_si512,
    _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512,
};

use super::tiles::{Config, release};
use super::vnni::{head_of, prefetch, unpack};
use super::{Quantised, quantised_formats, store, with_rows};
use crate::format::{BLOCK, Format, LANES};
use crate::kernels::Job;
use crate::operand::{BlockScale, INT8_BLOCK};

/// Rows of a tile.
const ROWS: usize = 16;

/// Panels that stay in the cache while all rows pass by.
const PANELS: usize = 16;

/// Blocks whose sums are in tile registers at once.
const BLOCKS: usize = 4;

/// Fewer rows are faster without tiles.
pub(crate) const FROM_ROWS: usize = 4;

/// Sums of some blocks as tiles leave them: `[block][row][output]`.
#[repr(C, align(64))]
struct Sums([[[i32; LANES]; ROWS]; BLOCKS]);

/// Levels of some blocks as tiles want them.
struct Levels([[__m512i; 8]; BLOCKS]);

/// # Safety
/// As for [`crate::kernels::run`], on a CPU with AMX-INT8 and AVX-512 F, BW, VL and VNNI in a process
/// that may use tiles; the operand is `Int8`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma")]
pub(crate) unsafe fn run(job: &Job) {
    let mut configured = 0;
    for first in job.panels().step_by(PANELS) {
        let last = job.last.min(first + PANELS);
        for row in (0..job.rows()).step_by(ROWS) {
            // The operand is padded to 16 rows with zeros; what is computed for them is not stored.
            let rows = ROWS.min(job.rows() - row).next_multiple_of(4);
            // SAFETY: the caller's promise; panels and rows are the job's.
            unsafe {
                if rows != configured {
                    for_rows(rows).load();
                    configured = rows;
                }
                quantised_formats!(job.format, Q => with_rows!(
                    rows,
                    [4 8 12 16],
                    R => panels::<Q, R>(job, first..last, row)
                ));
            }
        }
    }
    // SAFETY: as above.
    unsafe { release() }
}

/// Tiles 0 to 3 are sums of four blocks, 4 and 5 activations, 6 and 7 weights.
fn for_rows(rows: usize) -> Config {
    let (sums, x, w) = ((rows, 64), (rows, BLOCK), (BLOCK / 4, 64));
    Config::new([sums, sums, sums, sums, x, x, w, w])
}

#[inline(always)]
unsafe fn panels<Q: Quantised, const R: usize>(
    job: &Job,
    panels: std::ops::Range<usize>,
    row: usize,
) {
    let mut sums = Sums([[[0; LANES]; ROWS]; BLOCKS]);
    // SAFETY: plain vectors, and the CPU has them.
    let mut levels = Levels([[unsafe { _mm512_setzero_si512() }; 8]; BLOCKS]);
    for p in panels {
        // SAFETY: panel and rows are the job's.
        unsafe { tile::<Q, R>(job, p, row, &mut sums, &mut levels) };
    }
}

/// One panel times `R` rows from `row` on, of which the operand may have fewer.
#[inline(always)]
unsafe fn tile<Q: Quantised, const R: usize>(
    job: &Job,
    p: usize,
    row: usize,
    dots: &mut Sums,
    room: &mut Levels,
) {
    // SAFETY: the job's panel has blocks for all of `k`, and its operand `R` rows of blocks.
    unsafe {
        let layout = const { Q::FORMAT.layout() };
        let panel = job.panel(p).as_ptr();
        let stride = job.x.stride();
        let x = job.x.base().add(row * stride).cast_const();
        let blocks = job.k / BLOCK;
        let mut sums = [_mm512_setzero_ps(); R];
        for b in (0..blocks).step_by(BLOCKS) {
            let count = BLOCKS.min(blocks - b);
            let mut w = [panel; BLOCKS];
            for (i, w) in w.iter_mut().enumerate().take(count) {
                *w = panel.add(layout.levels(b + i));
                prefetch::<Q>(panel.add(layout.scales(b + i)), *w);
                if Q::FORMAT != Format::Q8_0 {
                    room.0[i] = unpack::<Q>(*w);
                    *w = room.0[i].as_ptr().cast();
                }
            }
            let at = x.add(b * INT8_BLOCK);
            if count == BLOCKS {
                four_blocks(at, stride, w, dots);
            } else {
                for (i, w) in w.iter().enumerate().take(count) {
                    one_block(at.add(i * INT8_BLOCK), stride, *w, &mut dots.0[i]);
                }
            }
            for i in 0..count {
                let head = panel.add(layout.scales(b + i));
                let at = at.add(i * INT8_BLOCK + BLOCK).cast::<BlockScale>();
                add::<Q, R>(head, at, stride, &dots.0[i], &mut sums);
            }
        }
        for (r, sum) in sums.into_iter().enumerate().take(job.rows() - row) {
            let to = job.out.add((row + r) * job.stride + p * LANES);
            store(to, sum, job.columns(p));
        }
    }
}

/// Adds one block's exact sums, scaled; `scale` is the first row's, `stride` bytes from the next.
#[inline(always)]
unsafe fn add<Q: Quantised, const R: usize>(
    head: *const u8,
    scale: *const BlockScale,
    stride: usize,
    dots: &[[i32; LANES]; ROWS],
    sums: &mut [std::arch::x86_64::__m512; R],
) {
    // SAFETY: the head of a block, and `R` rows with a scale.
    unsafe {
        let (scales, mins) = head_of::<Q>(head);
        for (r, sum) in sums.iter_mut().enumerate() {
            let x = scale.cast::<u8>().add(r * stride).cast::<BlockScale>();
            let mut dot = _mm512_load_si512(dots[r].as_ptr().cast());
            match Q::FORMAT {
                Format::Q8_0 => dot = _mm512_add_epi32(dot, _mm512_set1_epi32((*x).minus_128)),
                Format::Q4_0 => dot = _mm512_add_epi32(dot, _mm512_set1_epi32((*x).minus_8)),
                _ => {}
            }
            let scale = _mm512_mul_ps(scales, _mm512_set1_ps((*x).scale));
            *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scale, *sum);
            if Q::MINS {
                *sum = _mm512_fmadd_ps(mins, _mm512_set1_ps((*x).scaled_sum), *sum);
            }
        }
    }
}

/// Exact sums of four blocks, 48 bytes apart in each row, rows `stride` bytes apart.
///
/// # Safety
/// Tiles configured by [`for_rows`], and so many rows at `x`.
#[inline(always)]
unsafe fn four_blocks(x: *const u8, stride: usize, w: [*const u8; BLOCKS], dots: &mut Sums) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            "tileloadd tmm4, [{x} + {stride}]",
            "tileloadd tmm6, [{w0} + {line}]",
            "tdpbsud tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{x} + {stride} + {block}]",
            "tileloadd tmm7, [{w1} + {line}]",
            "tdpbsud tmm1, tmm5, tmm7",
            "tileloadd tmm4, [{x} + {stride} + 2 * {block}]",
            "tileloadd tmm6, [{w2} + {line}]",
            "tdpbsud tmm2, tmm4, tmm6",
            "tileloadd tmm5, [{x} + {stride} + 3 * {block}]",
            "tileloadd tmm7, [{w3} + {line}]",
            "tdpbsud tmm3, tmm5, tmm7",
            "tilestored [{dots} + {line}], tmm0",
            "tilestored [{dots} + {line} + 1024], tmm1",
            "tilestored [{dots} + {line} + 2048], tmm2",
            "tilestored [{dots} + {line} + 3072], tmm3",
            x = in(reg) x,
            stride = in(reg) stride,
            w0 = in(reg) w[0],
            w1 = in(reg) w[1],
            w2 = in(reg) w[2],
            w3 = in(reg) w[3],
            dots = in(reg) dots,
            line = in(reg) 64usize,
            block = const INT8_BLOCK,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// Exact sums of one block.
///
/// # Safety
/// As for [`four_blocks`].
#[inline(always)]
unsafe fn one_block(x: *const u8, stride: usize, w: *const u8, dots: &mut [[i32; LANES]; ROWS]) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tileloadd tmm4, [{x} + {stride}]",
            "tileloadd tmm6, [{w} + {line}]",
            "tdpbsud tmm0, tmm4, tmm6",
            "tilestored [{dots} + {line}], tmm0",
            x = in(reg) x,
            stride = in(reg) stride,
            w = in(reg) w,
            dots = in(reg) dots,
            line = in(reg) 64usize,
            out("tmm0") _, out("tmm4") _, out("tmm6") _,
            options(nostack),
        );
    }
}
