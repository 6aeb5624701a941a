//! AMX for f32: both sides as three bf16 parts, whose products are added from small to large.
//!
//! `x = x_h + x_m + x_l` holds exactly, each part being the nearest bf16 of what the ones before it
//! leave. Of the nine products of parts the six that reach 2⁻²⁴ of the whole are computed; what is
//! dropped (m·l, l·m, l·l) is below 2⁻²⁵. So results are as near as those of f32 arithmetic, and
//! six tile products still take half the time of f32's fused multiplications. (Henry, Tang and
//! Heinecke, *Leveraging the bfloat16 artificial intelligence datatype for higher-precision
//! computations*, 2019: "BF16x6".) The tile unit takes subnormal parts for zero.

use std::arch::asm;
use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_and_si512, _mm512_castps_si512, _mm512_castsi512_ps,
    _mm512_or_si512, _mm512_set1_epi32, _mm512_setzero_si512, _mm512_srli_epi32,
    _mm512_store_si512, _mm512_sub_ps,
};

use super::tiles::{Config, release};
use crate::format::{BLOCK, LANES};
use crate::kernels::{Job, scratch};
use crate::operand::{SPLIT_TILES, TILE};

/// Rows of a tile.
const ROWS: usize = 16;

/// Panels that are split before all rows meet them: their parts (590 kB for 1,536 inputs) and those
/// of 32 rows stay in the second-level cache.
const PANELS: usize = 4;

/// Bytes of a block's three tiles.
const STEP: usize = SPLIT_TILES * TILE;

/// Two panels' results for 32 rows, for when some of them are padding.
#[repr(C, align(64))]
struct Results([f32; 2 * ROWS * 2 * LANES]);

/// # Safety
/// As for [`crate::kernels::run`], on a CPU with AMX-BF16 and AVX-512F in a process that may use
/// tiles; the operand is `Split` and the weights are f32.
pub(crate) unsafe fn run(job: &Job) {
    let bytes = job.k.div_ceil(BLOCK) * STEP;
    let config = configuration(job.rows());
    scratch::with(PANELS * bytes, |parts| {
        // SAFETY: the CPU has tiles, the process may use them.
        unsafe { config.load() };
        let mut results = Results([0.0; 4 * ROWS * LANES]);
        for p in (job.first..job.last).step_by(PANELS) {
            let count = PANELS.min(job.last - p);
            for i in 0..count {
                // SAFETY: the scratch has room for the parts of `PANELS` panels.
                unsafe { split(job.panel(p + i), job.k, parts.add(i * bytes)) };
            }
            for row in (0..job.rows()).step_by(2 * ROWS) {
                for i in (0..count).step_by(2) {
                    let both = i + 1 < count;
                    // A missing panel is computed as a copy of the other and thrown away.
                    // SAFETY: the parts of these panels were just written.
                    unsafe {
                        let first = parts.add(i * bytes).cast_const();
                        let second = if both { first.add(bytes) } else { first };
                        let width = if both { 2 } else { 1 };
                        pair(job, row, p + i, width, [first, second], &mut results);
                    }
                }
            }
        }
        // SAFETY: as above; the tiles are not used after this.
        unsafe { release() };
    });
}

/// Tiles 0 to 3 are sums of two panels for 32 rows, 4 and 5 activations, 6 and 7 weights.
fn configuration(rows: usize) -> Config {
    let first = (rows.min(ROWS), 64);
    let second = (
        if rows > ROWS {
            (rows - ROWS).min(ROWS)
        } else {
            rows
        },
        64,
    );
    let weights = (ROWS, 64);
    Config::new([
        first, first, second, second, first, second, weights, weights,
    ])
}

/// Rows `row` to `row + 31`, as far as there are, times two panels, of which `width` are wanted.
unsafe fn pair(
    job: &Job,
    row: usize,
    p: usize,
    width: usize,
    panels: [*const u8; 2],
    results: &mut Results,
) {
    let rows = (2 * ROWS).min(job.rows() - row);
    let columns = (width - 1) * LANES + job.columns(p + width - 1);
    // SAFETY: the job's rows and panels. Results go to `out` only where whole tiles, as they are
    // configured, have room there.
    unsafe {
        let first = job.x.base().add(row / ROWS * job.x.stride()).cast_const();
        let second = if rows > ROWS {
            first.add(job.x.stride())
        } else {
            first
        };
        let to = job.out.add(row * job.stride + p * LANES);
        let steps = job.k.div_ceil(BLOCK);
        let whole = rows == 2 * ROWS || (rows > ROWS && job.rows() == rows);
        if whole && columns == 2 * LANES {
            two_by_two([first, second], panels, steps, to, job.stride * 4);
            return;
        }
        let line = 2 * LANES;
        two_by_two(
            [first, second],
            panels,
            steps,
            results.0.as_mut_ptr(),
            line * 4,
        );
        for (r, line) in results.0.chunks_exact(line).take(rows).enumerate() {
            std::ptr::copy_nonoverlapping(line.as_ptr(), to.add(r * job.stride), columns);
        }
    }
}

/// The three parts of a panel of f32, as tiles of pairs of inputs: of each block all of `h`, then
/// `m`, then `l`; padded with zeros to whole blocks.
#[target_feature(enable = "avx512f")]
unsafe fn split(panel: &[u8], k: usize, to: *mut u8) {
    let vectors = panel.as_chunks::<{ 4 * LANES }>().0;
    let load = |i: usize| -> __m512i {
        match vectors.get(i).filter(|_| i < k) {
            // SAFETY: 64 bytes are a vector.
            Some(vector) => unsafe { vector.as_ptr().cast::<__m512i>().read_unaligned() },
            None => _mm512_setzero_si512(),
        }
    };
    for pair in 0..k.next_multiple_of(BLOCK) / 2 {
        let (even, odd) = (parts(load(2 * pair)), parts(load(2 * pair + 1)));
        for (part, (even, odd)) in even.into_iter().zip(odd).enumerate() {
            let word = _mm512_or_si512(_mm512_srli_epi32::<16>(even), odd);
            let at = pair / (BLOCK / 2) * STEP + part * TILE + pair % (BLOCK / 2) * 64;
            // SAFETY: the caller has room for `STEP` bytes a block; all lie at multiples of 64.
            unsafe { _mm512_store_si512(to.add(at).cast(), word) };
        }
    }
}

/// Sixteen floats as three bf16 numbers each, in the upper halves.
#[target_feature(enable = "avx512f")]
fn parts(x: __m512i) -> [__m512i; 3] {
    let high = nearest(x);
    let rest = minus(x, high);
    let middle = nearest(rest);
    // Eight bits are left at most: nothing to round.
    [high, middle, minus(rest, middle)]
}

/// The nearest bf16, ties to even, as f32.
#[target_feature(enable = "avx512f")]
fn nearest(x: __m512i) -> __m512i {
    let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(x), _mm512_set1_epi32(1));
    let rounded = _mm512_add_epi32(x, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    _mm512_and_si512(rounded, _mm512_set1_epi32(0xffff_0000_u32.cast_signed()))
}

#[target_feature(enable = "avx512f")]
fn minus(a: __m512i, b: __m512i) -> __m512i {
    _mm512_castps_si512(_mm512_sub_ps(
        _mm512_castsi512_ps(a),
        _mm512_castsi512_ps(b),
    ))
}

/// Four tile products of 32 × 32 results each: the parts at offset `$a` of two times 16 rows and at
/// `$b` of two panels. A side given as `-` keeps the parts that it has.
macro_rules! products {
    (- , $b:literal) => {
        concat!(
            "tileloadd tmm6, [{b0} + {line} + ",
            $b,
            "]\n",
            "tdpbf16ps tmm0, tmm4, tmm6\n",
            "tileloadd tmm7, [{b1} + {line} + ",
            $b,
            "]\n",
            "tdpbf16ps tmm2, tmm5, tmm6\n",
            "tdpbf16ps tmm1, tmm4, tmm7\n",
            "tdpbf16ps tmm3, tmm5, tmm7",
        )
    };
    ($a:literal, -) => {
        concat!(
            "tileloadd tmm4, [{a0} + {line} + ",
            $a,
            "]\n",
            "tdpbf16ps tmm0, tmm4, tmm6\n",
            "tileloadd tmm5, [{a1} + {line} + ",
            $a,
            "]\n",
            "tdpbf16ps tmm1, tmm4, tmm7\n",
            "tdpbf16ps tmm2, tmm5, tmm6\n",
            "tdpbf16ps tmm3, tmm5, tmm7",
        )
    };
}

/// `steps` blocks of 2 × 16 rows times as many of two panels; 2 × 2 tiles of sums.
///
/// # Safety
/// Tiles configured by [`configuration`]; `out` valid for the rows, `stride` bytes apart, of 32
/// sums.
unsafe fn two_by_two(
    a: [*const u8; 2],
    b: [*const u8; 2],
    steps: usize,
    out: *mut f32,
    stride: usize,
) {
    const { assert!(TILE == 1024, "the offsets below") };
    // SAFETY: the caller's promise. Panels and operand have `steps` times three tiles of 1 KiB.
    unsafe {
        asm!(
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            "2:",
            "tileloadd tmm6, [{b0} + {line}]",
            "tileloadd tmm7, [{b1} + {line}]",
            products!("2048", -), // l·h
            products!("1024", -), // m·h
            products!(-, "1024"), // m·m
            products!("0", -),    // h·m
            products!(-, "2048"), // h·l
            products!(-, "0"),    // h·h
            "add {a0}, {step}", "add {a1}, {step}", "add {b0}, {step}", "add {b1}, {step}",
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
            step = const STEP,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}
