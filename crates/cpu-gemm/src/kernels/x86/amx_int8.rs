//! Integer products of several rows in tiles: 16 rows × 32 bytes times 32 bytes × 16 outputs.
//!
//! A tile product covers one block, or half of one where the halves have scales of their own. So the
//! exact sums go through memory, four products at a time, and AVX-512 does the rest, in the same order
//! and with the same operations as the VNNI kernel: the same bits, in less than half the instructions.

use std::arch::asm;
use std::arch::x86_64::{
    __m512, __m512i, _mm512_add_epi32, _mm512_load_si512, _mm512_setzero_ps, _mm512_setzero_si512,
};

use super::tiles::{Config, release};
use super::vnni::{Head, prefetch, starts, unpack};
use super::{Quantised, quantised_formats, store, with_rows};
use crate::format::{BLOCK, LANES};
use crate::kernels::Job;
use crate::operand::{BlockScale, INT8_BLOCK};

/// Rows of a tile.
const ROWS: usize = 16;

/// Panels that stay in the cache while all rows pass by.
const PANELS: usize = 16;

/// Parts of blocks whose sums are in tile registers at once.
const PARTS: usize = 4;

/// Fewer rows are faster without tiles.
pub(crate) const FROM_ROWS: usize = 4;

/// Sums of some parts as tiles leave them: `[part][row][output]`.
#[repr(C, align(64))]
struct Sums([[[i32; LANES]; ROWS]; PARTS]);

/// Levels of some blocks as tiles want them.
struct Levels([[__m512i; 8]; PARTS]);

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
                quantised_formats!(job.format, Q => {
                    if rows != configured {
                        for_rows::<Q>(rows).load();
                        configured = rows;
                    }
                    with_rows!(rows, [4 8 12 16], R => panels::<Q, R>(job, first..last, row));
                });
            }
        }
    }
    // SAFETY: as above.
    unsafe { release() }
}

/// Tiles 0 to 3 are sums of four parts, 4 and 5 activations, 6 and 7 weights.
fn for_rows<Q: Quantised>(rows: usize) -> Config {
    let inputs = BLOCK / parts::<Q>();
    let (sums, x, w) = ((rows, 64), (rows, inputs), (inputs / 4, 64));
    Config::new([sums, sums, sums, sums, x, x, w, w])
}

/// Parts of a block that have a scale each.
const fn parts<Q: Quantised>() -> usize {
    if Q::HALVES { 2 } else { 1 }
}

#[inline(always)]
unsafe fn panels<Q: Quantised, const R: usize>(
    job: &Job,
    panels: std::ops::Range<usize>,
    row: usize,
) {
    let mut sums = Sums([[[0; LANES]; ROWS]; PARTS]);
    // SAFETY: plain vectors, and the CPU has them.
    let mut levels = Levels([[unsafe { _mm512_setzero_si512() }; 8]; PARTS]);
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
        let parts = const { parts::<Q>() };
        let panel = job.panel(p).as_ptr();
        let stride = job.x.stride();
        let x = job.x.base().add(row * stride).cast_const();
        let blocks = job.k / BLOCK;
        let mut sums = [_mm512_setzero_ps(); R];
        for b in (0..blocks).step_by(PARTS / parts) {
            let count = (PARTS / parts).min(blocks - b);
            let mut w = [panel; PARTS];
            for i in 0..count {
                let mut levels = panel.add(Q::LAYOUT.levels(b + i));
                prefetch::<Q>(panel.add(Q::LAYOUT.scales(b + i)), levels);
                if Q::LAYOUT.bits < 8 {
                    room.0[i] = unpack::<Q>(levels);
                    levels = room.0[i].as_ptr().cast();
                }
                for part in 0..parts {
                    w[i * parts + part] = levels.add(part * BLOCK * LANES / parts);
                }
            }
            let at = x.add(b * INT8_BLOCK);
            if count * parts == PARTS {
                four_parts::<Q>(at, stride, w, dots);
            } else {
                for (i, w) in w.iter().enumerate().take(count * parts) {
                    one_part(at.add(offset::<Q>(i)), stride, *w, &mut dots.0[i]);
                }
            }
            for i in 0..count {
                let head = panel.add(Q::LAYOUT.scales(b + i));
                let at = at.add(i * INT8_BLOCK + BLOCK).cast::<BlockScale>();
                add::<Q, R>(head, at, stride, &dots.0[i * parts..][..parts], &mut sums);
            }
        }
        for (r, sum) in sums.into_iter().enumerate().take(job.rows() - row) {
            let to = job.out.add((row + r) * job.stride + p * LANES);
            store(to, sum, job.columns(p));
        }
    }
}

/// Where a part begins in a row's blocks.
const fn offset<Q: Quantised>(part: usize) -> usize {
    part / parts::<Q>() * INT8_BLOCK + part % parts::<Q>() * (BLOCK / parts::<Q>())
}

/// Adds one block's exact sums, scaled; `scale` is the first row's, `stride` bytes from the next.
#[inline(always)]
unsafe fn add<Q: Quantised, const R: usize>(
    head: *const u8,
    scale: *const BlockScale,
    stride: usize,
    dots: &[[[i32; LANES]; ROWS]],
    sums: &mut [__m512; R],
) {
    // SAFETY: the head of a block, and `R` rows with a scale.
    unsafe {
        let head = Head::load::<Q>(head);
        for (r, sum) in sums.iter_mut().enumerate() {
            let x = scale.cast::<u8>().add(r * stride).cast::<BlockScale>();
            let mut starts = starts::<Q>(x);
            for (part, start) in starts.iter_mut().enumerate().take(parts::<Q>()) {
                let dot = _mm512_load_si512(dots[part][r].as_ptr().cast());
                *start = _mm512_add_epi32(dot, *start);
            }
            *sum = head.add::<Q>(starts, x, *sum);
        }
    }
}

/// Exact sums of four parts, whose places in each row [`offset`] knows, rows `stride` bytes apart.
///
/// # Safety
/// Tiles configured by [`for_rows`], and so many rows at `x`.
#[inline(always)]
unsafe fn four_parts<Q: Quantised>(
    x: *const u8,
    stride: usize,
    w: [*const u8; PARTS],
    dots: &mut Sums,
) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            "tileloadd tmm4, [{x} + {stride}]",
            "tileloadd tmm6, [{w0} + {line}]",
            "tdpbsud tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{x} + {stride} + {second}]",
            "tileloadd tmm7, [{w1} + {line}]",
            "tdpbsud tmm1, tmm5, tmm7",
            "tileloadd tmm4, [{x} + {stride} + {third}]",
            "tileloadd tmm6, [{w2} + {line}]",
            "tdpbsud tmm2, tmm4, tmm6",
            "tileloadd tmm5, [{x} + {stride} + {fourth}]",
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
            second = const offset::<Q>(1),
            third = const offset::<Q>(2),
            fourth = const offset::<Q>(3),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// Exact sums of one part.
///
/// # Safety
/// As for [`four_parts`].
#[inline(always)]
unsafe fn one_part(x: *const u8, stride: usize, w: *const u8, dots: &mut [[i32; LANES]; ROWS]) {
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
