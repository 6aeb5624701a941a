//! AMX: tiles of 16 rows × 32 inputs times tiles of 32 inputs × 16 outputs, summed in tiles of f32.
//!
//! The intrinsics are not stable in Rust, the instructions are reached through `asm!`. A whole
//! tile product is one block of assembly, so that nothing has to be known about the tile registers
//! between blocks but their configuration, which a job loads first and releases last.

use std::arch::asm;

use super::bf16::panels_as_bf16;
use super::tiles::{Config, release};
use crate::format::{BLOCK, LANES};
use crate::kernels::{Job, scratch};
use crate::operand::TILE;

/// Rows of a tile.
const ROWS: usize = 16;

/// A tile product's results when some of them are padding: 2 × 2 or 1 × 4 tiles.
#[repr(C, align(64))]
struct Results([f32; 4 * ROWS * LANES]);

/// # Safety
/// As for [`crate::kernels::run`], on a CPU with AMX-BF16 and AVX512-BF16 in a process that may use
/// tiles; the operand is `Bf16`.
pub(crate) unsafe fn run(job: &Job) {
    let bytes = job.k.next_multiple_of(BLOCK) * 2 * LANES;
    let few = job.rows() <= ROWS;
    let group = if few { 4 } else { 2 };
    let room = if job.format.is_quantised() {
        group * bytes
    } else {
        0
    };
    let config = if few {
        for_few_rows(job.rows())
    } else {
        for_many_rows(job.rows())
    };
    scratch::with(room, |scratch| {
        // SAFETY: the CPU has tiles, the process may use them.
        unsafe { config.load() };
        let mut results = Results([0.0; 4 * ROWS * LANES]);
        for p in (job.first..job.last).step_by(group) {
            let count = group.min(job.last - p);
            // SAFETY: the panels are the job's, the scratch has room for them.
            unsafe {
                let panels = panels_as_bf16(job, p, count, scratch);
                // A missing panel is computed as a copy of the first one and thrown away.
                let panel = |i: usize| panels.add(if i < count { i * bytes } else { 0 });
                if few {
                    let panels = [panel(0), panel(1), panel(2), panel(3)];
                    few_rows(job, p, count, panels, &mut results);
                } else {
                    many_rows(job, p, count, [panel(0), panel(1)], &mut results);
                }
            }
        }
        // SAFETY: as above; the tiles are not used after this.
        unsafe { release() };
    });
}

/// Tiles 0 to 3 are sums of four panels, 4 the activations, 5 to 7 weights.
fn for_few_rows(rows: usize) -> Config {
    let (x, w) = ((rows, 64), (ROWS, 64));
    Config::new([x, x, x, x, x, w, w, w])
}

/// Tiles 0 to 3 are sums of two panels for 32 rows, 4 and 5 activations, 6 and 7 weights.
fn for_many_rows(rows: usize) -> Config {
    let (first, second) = ((ROWS, 64), ((rows - ROWS).min(ROWS), 64));
    Config::new([first, first, second, second, first, second, first, first])
}

/// Up to 16 rows times four panels, of which `count` are wanted.
unsafe fn few_rows(job: &Job, p: usize, count: usize, b: [*const u8; 4], results: &mut Results) {
    let steps = job.k.div_ceil(BLOCK);
    // SAFETY: the job's rows and panels; `direct` says whether `out` has room for all four panels.
    unsafe {
        let x = job.x.base();
        let out = job.out.add(p * LANES);
        let direct = count == 4 && job.columns(p + 3) == LANES;
        if direct {
            one_by_four(x, b, steps, out, job.stride * 4);
            return;
        }
        one_by_four(x, b, steps, results.0.as_mut_ptr(), 4 * LANES * 4);
        copy(job, 0..job.rows(), p, count, 4, results);
    }
}

/// All rows, 32 at a time, times two panels, of which `count` are wanted.
unsafe fn many_rows(job: &Job, p: usize, count: usize, b: [*const u8; 2], results: &mut Results) {
    let steps = job.k.div_ceil(BLOCK);
    let both = count == 2 && job.columns(p + 1) == LANES;
    for row in (0..job.rows()).step_by(2 * ROWS) {
        let rows = (2 * ROWS).min(job.rows() - row);
        // SAFETY: the job's rows and panels; `direct` says whether `out` has room for whole tiles
        // as they are configured.
        unsafe {
            let first = job.x.base().add(row / ROWS * job.x.stride()).cast_const();
            let second = if rows > ROWS {
                first.add(job.x.stride())
            } else {
                first
            };
            let direct = both && (rows == 2 * ROWS || job.rows() < 2 * ROWS);
            if direct {
                let out = job.out.add(row * job.stride + p * LANES);
                two_by_two([first, second], b, steps, out, job.stride * 4);
            } else {
                let out = results.0.as_mut_ptr();
                two_by_two([first, second], b, steps, out, 2 * LANES * 4);
                copy(job, row..row + rows, p, count, 2, results);
            }
        }
    }
}

/// Copies the wanted part of the results, `width` panels wide.
unsafe fn copy(
    job: &Job,
    rows: std::ops::Range<usize>,
    p: usize,
    count: usize,
    width: usize,
    results: &Results,
) {
    let lines = results.0.chunks_exact(width * LANES);
    let columns = (count - 1) * LANES + job.columns(p + count - 1);
    for (row, line) in rows.zip(lines) {
        // SAFETY: row and columns are the job's.
        unsafe {
            let to = job.out.add(row * job.stride + p * LANES);
            std::ptr::copy_nonoverlapping(line.as_ptr(), to, columns);
        }
    }
}

/// `steps` tiles of activations from `a` on times as many of four panels; four tiles of sums.
///
/// # Safety
/// Tiles configured by [`for_few_rows`]; `out` valid for the rows, `stride` bytes apart, of 64 sums.
unsafe fn one_by_four(a: *const u8, b: [*const u8; 4], steps: usize, out: *mut f32, stride: usize) {
    // SAFETY: the caller's promise. Panels and operand have `steps` tiles of 1 KiB.
    unsafe {
        asm!(
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            "2:",
            "tileloadd tmm4, [{a} + {line}]",
            "tileloadd tmm5, [{b0} + {line}]",
            "tdpbf16ps tmm0, tmm4, tmm5",
            "tileloadd tmm6, [{b1} + {line}]",
            "tdpbf16ps tmm1, tmm4, tmm6",
            "tileloadd tmm7, [{b2} + {line}]",
            "tdpbf16ps tmm2, tmm4, tmm7",
            "tileloadd tmm5, [{b3} + {line}]",
            "tdpbf16ps tmm3, tmm4, tmm5",
            "add {a}, {tile}", "add {b0}, {tile}", "add {b1}, {tile}",
            "add {b2}, {tile}", "add {b3}, {tile}",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{c} + {stride}], tmm0",
            "tilestored [{c} + {stride} + 64], tmm1",
            "tilestored [{c} + {stride} + 128], tmm2",
            "tilestored [{c} + {stride} + 192], tmm3",
            a = inout(reg) a => _,
            b0 = inout(reg) b[0] => _,
            b1 = inout(reg) b[1] => _,
            b2 = inout(reg) b[2] => _,
            b3 = inout(reg) b[3] => _,
            c = in(reg) out,
            line = in(reg) 64usize,
            stride = in(reg) stride,
            steps = inout(reg) steps => _,
            tile = const TILE,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// `steps` tiles of activations of 2 × 16 rows times as many of two panels; 2 × 2 tiles of sums.
///
/// # Safety
/// Tiles configured by [`for_many_rows`]; `out` valid for the rows, `stride` bytes apart, of 32
/// sums.
unsafe fn two_by_two(
    a: [*const u8; 2],
    b: [*const u8; 2],
    steps: usize,
    out: *mut f32,
    stride: usize,
) {
    // SAFETY: the caller's promise. Panels and operand have `steps` tiles of 1 KiB.
    unsafe {
        asm!(
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            "2:",
            "tileloadd tmm4, [{a0} + {line}]",
            "tileloadd tmm6, [{b0} + {line}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{b1} + {line}]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{a1} + {line}]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {a0}, {tile}", "add {a1}, {tile}", "add {b0}, {tile}", "add {b1}, {tile}",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{c0} + {stride}], tmm0",
            "tilestored [{c0} + {stride} + 64], tmm1",
            "tilestored [{c1} + {stride}], tmm2",
            "tilestored [{c1} + {stride} + 64], tmm3",
            a0 = inout(reg) a[0] => _,
            a1 = inout(reg) a[1] => _,
            b0 = inout(reg) b[0] => _,
            b1 = inout(reg) b[1] => _,
            c0 = in(reg) out,
            c1 = in(reg) out.cast::<u8>().add(ROWS * stride),
            line = in(reg) 64usize,
            stride = in(reg) stride,
            steps = inout(reg) steps => _,
            tile = const TILE,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}
