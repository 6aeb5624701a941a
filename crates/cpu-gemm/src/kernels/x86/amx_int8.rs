//! Integer products of several rows in tiles: 16 rows × 32 bytes times 32 bytes × 16 outputs.
//!
//! A tile product covers one block, since each block has scales of its own. So the exact sums go
//! through memory, two blocks at a time, and AVX-512 does the rest, in the same order and with the
//! same operations as the VNNI kernel: the same bits, in less than half the instructions.

use std::arch::asm;
use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_cvtepi32_ps, _mm512_fmadd_ps, _mm512_load_ps,
    _mm512_load_si512, _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_store_ps,
};
use std::mem::MaybeUninit;
use std::ops::Range;

use super::tiles::{Config, release};
use super::vnni::{head_of, prefetch, unpack};
use super::{Quantised, quantised_formats};
use crate::format::{BLOCK, Format, LANES};
use crate::kernels::Job;
use crate::operand::{BlockScale, INT8_BLOCK};

/// Rows of a tile.
const ROWS: usize = 16;

/// Panels that stay in the cache while all rows pass by.
const PANELS: usize = 16;

/// Blocks whose sums are in tile registers at once.
const BLOCKS: usize = 2;

/// Fewer rows are faster without tiles.
pub(crate) const FROM_ROWS: usize = 4;

/// Sums of some blocks as tiles leave them: `[block][row][output]`.
#[repr(C, align(64))]
struct Dots([[[i32; LANES]; ROWS]; BLOCKS]);

/// Results of a panel: `[row][output]`.
#[repr(C, align(64))]
struct Sums([[f32; LANES]; ROWS]);

/// # Safety
/// As for [`crate::kernels::run`], on a CPU with AMX-INT8 and AVX-512 F, BW, VL and VNNI in a process
/// that may use tiles; the operand is `Int8`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma")]
pub(crate) unsafe fn run(job: &Job) {
    let mut configured = 0;
    for first in job.panels().step_by(PANELS) {
        let last = job.last.min(first + PANELS);
        for row in (0..job.rows()).step_by(ROWS) {
            let rows = ROWS.min(job.rows() - row);
            // SAFETY: the caller's promise; panels and rows are the job's.
            unsafe {
                if rows != configured {
                    for_rows(rows).load();
                    configured = rows;
                }
                quantised_formats!(job.format, Q => panels::<Q>(job, first..last, row, rows));
            }
        }
    }
    // SAFETY: as above.
    unsafe { release() }
}

/// Tiles 0 and 1 are sums of two blocks, 4 and 5 activations, 6 and 7 weights.
fn for_rows(rows: usize) -> Config {
    let (sums, x, w) = ((rows, 64), (rows, BLOCK), (BLOCK / 4, 64));
    Config::new([sums, sums, sums, sums, x, x, w, w])
}

/// Some panels times `rows` rows from `row` on. Tiles work one group of blocks ahead of the vectors:
/// what a tile stored is not to be had at once.
#[inline(always)]
unsafe fn panels<Q: Quantised>(job: &Job, panels: Range<usize>, row: usize, rows: usize) {
    let mut dots = [const { Dots([[[0; LANES]; ROWS]; BLOCKS]) }; 2];
    let mut sums = Sums([[0.0; LANES]; ROWS]);
    let blocks = job.k / BLOCK;
    // SAFETY: panels and rows are the job's; the operand has blocks for all of them.
    unsafe {
        let stride = job.x.stride();
        let x = job.x.base().add(row * stride).cast_const();
        let mut now = 0;
        dots_of::<Q>(
            job.panel(panels.start).as_ptr(),
            0,
            blocks,
            x,
            stride,
            &mut dots[0],
        );
        for p in panels.clone() {
            let panel = job.panel(p).as_ptr();
            sums.0[..rows].fill([0.0; LANES]);
            for b in (0..blocks).step_by(BLOCKS) {
                let next = &mut dots[1 - now];
                if b + BLOCKS < blocks {
                    dots_of::<Q>(panel, b + BLOCKS, blocks, x, stride, next);
                } else if p + 1 < panels.end {
                    dots_of::<Q>(job.panel(p + 1).as_ptr(), 0, blocks, x, stride, next);
                }
                for (i, dots) in dots[now].0.iter().enumerate().take(blocks - b) {
                    let head = panel.add(const { Q::FORMAT.layout() }.scales(b + i));
                    let scale = x.add((b + i) * INT8_BLOCK + BLOCK);
                    add::<Q>(head, scale, stride, &dots[..rows], &mut sums);
                }
                now = 1 - now;
            }
            for (r, sums) in sums.0[..rows].iter().enumerate() {
                job.store(row + r, p, sums);
            }
        }
    }
}

/// Exact sums of up to two blocks of a panel from `b` on, of all rows that tiles are configured for.
#[inline(always)]
unsafe fn dots_of<Q: Quantised>(
    panel: *const u8,
    b: usize,
    blocks: usize,
    x: *const u8,
    stride: usize,
    dots: &mut Dots,
) {
    let layout = const { Q::FORMAT.layout() };
    let count = BLOCKS.min(blocks - b);
    // SAFETY: the panel and the rows have these blocks.
    unsafe {
        let mut room = MaybeUninit::<[[__m512i; 8]; BLOCKS]>::uninit();
        let room = room.as_mut_ptr().cast::<[__m512i; 8]>();
        let mut w = [panel; BLOCKS];
        for (i, w) in w.iter_mut().enumerate().take(count) {
            *w = panel.add(layout.levels(b + i));
            prefetch::<Q>(panel.add(layout.scales(b + i)), *w);
            if Q::FORMAT != Format::Q8_0 {
                room.add(i).write(unpack::<Q>(*w));
                *w = room.add(i).cast();
            }
        }
        let x = x.add(b * INT8_BLOCK);
        if count == BLOCKS {
            return two_blocks(x, stride, w, dots);
        }
        for (i, w) in w.iter().enumerate().take(count) {
            one_block(x.add(i * INT8_BLOCK), stride, *w, &mut dots.0[i]);
        }
    }
}

/// Adds one block's exact sums, scaled; `x` is the first row's scale, `stride` bytes from the next. The
/// results stay in memory: kept in registers, for a constant number of rows, they were slower.
#[inline(always)]
unsafe fn add<Q: Quantised>(
    head: *const u8,
    x: *const u8,
    stride: usize,
    dots: &[[i32; LANES]],
    sums: &mut Sums,
) {
    // SAFETY: the head of a block, and a scale for each row.
    unsafe {
        let (scales, mins) = head_of::<Q>(head);
        for (r, (dots, sums)) in dots.iter().zip(&mut sums.0).enumerate() {
            let x = x.add(r * stride).cast::<BlockScale>();
            let mut dot = _mm512_load_si512(dots.as_ptr().cast());
            match Q::FORMAT {
                Format::Q8_0 => dot = _mm512_add_epi32(dot, _mm512_set1_epi32((*x).minus_128)),
                Format::Q4_0 => dot = _mm512_add_epi32(dot, _mm512_set1_epi32((*x).minus_8)),
                _ => {}
            }
            let scale = _mm512_mul_ps(scales, _mm512_set1_ps((*x).scale));
            let sum = _mm512_load_ps(sums.as_ptr());
            let mut sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scale, sum);
            if Q::MINS {
                sum = _mm512_fmadd_ps(mins, _mm512_set1_ps((*x).scaled_sum), sum);
            }
            _mm512_store_ps(sums.as_mut_ptr(), sum);
        }
    }
}

/// Exact sums of two blocks, 48 bytes apart in each row, rows `stride` bytes apart.
///
/// # Safety
/// Tiles configured by [`for_rows`], and so many rows at `x`.
#[inline(always)]
unsafe fn two_blocks(x: *const u8, stride: usize, w: [*const u8; BLOCKS], dots: &mut Dots) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tileloadd tmm4, [{x} + {stride}]",
            "tileloadd tmm6, [{w0} + {line}]",
            "tdpbsud tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{x} + {stride} + {block}]",
            "tileloadd tmm7, [{w1} + {line}]",
            "tdpbsud tmm1, tmm5, tmm7",
            "tilestored [{dots} + {line}], tmm0",
            "tilestored [{dots} + {line} + 1024], tmm1",
            x = in(reg) x,
            stride = in(reg) stride,
            w0 = in(reg) w[0],
            w1 = in(reg) w[1],
            dots = in(reg) dots,
            line = in(reg) 64usize,
            block = const INT8_BLOCK,
            out("tmm0") _, out("tmm1") _, out("tmm4") _,
            out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// Exact sums of one block.
///
/// # Safety
/// As for [`two_blocks`].
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
