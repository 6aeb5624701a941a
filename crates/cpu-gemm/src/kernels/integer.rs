//! Quantised weights times quantised activations: exact sums in each block of 32.
//!
//! For each block, in ascending order, `acc = fma(Σ(w·q), w_scale · x_scale, acc)`, and for formats
//! with minima `acc = fma(w_min, x_scale · Σq, acc)`. Where either half of a block has a scale, the
//! first half is added and then the second. The inner sums are exact integers and the outer ones
//! follow one order, so every implementation gives the same bits.

use crate::cpu::Capabilities;
#[cfg(target_arch = "x86_64")]
use crate::cpu::Feature;
use crate::format::{BLOCK, LANES};
use crate::kernels::Job;
use crate::kernels::block::Block;
#[cfg(target_arch = "x86_64")]
use crate::kernels::x86;
use crate::operand::{BlockScale, INT8_BLOCK};

/// # Safety
/// As for [`super::run`]; the operand is `Int8` and the format a quantised one.
pub(crate) unsafe fn run(capabilities: Capabilities, job: &Job) {
    #[cfg(not(target_arch = "x86_64"))]
    let _ = capabilities;
    // SAFETY: the caller's promise; each kernel's CPU feature is among the capabilities.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if capabilities.has(Feature::AmxInt8) && job.rows() >= x86::amx_int8::FROM_ROWS {
            return x86::amx_int8::run(job);
        } else if capabilities.has(Feature::Vnni) {
            return x86::vnni::run(job);
        } else if capabilities.has(Feature::Avx2) {
            return x86::avx2::run(job);
        }
        portable(job);
    }
}

unsafe fn portable(job: &Job) {
    let mut sums = vec![[0f32; LANES]; job.rows()];
    for p in job.panels() {
        sums.fill([0.0; LANES]);
        for b in 0..job.k / BLOCK {
            let block = Block::read(job.format, job.panel(p), b);
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: the operand has this row, and blocks for all of `k`.
                let (levels, scale) = unsafe {
                    let from = job.x.base().add(row * job.x.stride() + b * INT8_BLOCK);
                    let scale = from.add(BLOCK).cast::<BlockScale>().read();
                    (from.cast::<[i8; BLOCK]>().read(), scale)
                };
                add_block(&block, &levels, &scale, sums);
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            // SAFETY: row and panel are the job's.
            unsafe { job.store(row, p, sums) };
        }
    }
}

fn add_block(block: &Block, levels: &[i8; BLOCK], scale: &BlockScale, sums: &mut [f32; LANES]) {
    let dots = half_sums(block, levels);
    for (o, sum) in sums.iter_mut().enumerate() {
        let mut add = |dot: i32, half: usize| {
            *sum = (dot as f32).mul_add(block.scales[half][o] * scale.scale, *sum);
        };
        if block.halves {
            add(dots[0][o], 0);
            add(dots[1][o], 1);
        } else {
            add(dots[0][o] + dots[1][o], 0);
        }
        if let Some(mins) = block.mins {
            *sum = mins[o].mul_add(scale.scaled_sum, *sum);
        }
    }
}

/// Σ(w·q) over either half of the inputs, for each output.
fn half_sums(block: &Block, levels: &[i8; BLOCK]) -> [[i32; LANES]; 2] {
    let mut dots = [[0; LANES]; 2];
    let quads = block.levels.iter().zip(levels.as_chunks::<4>().0);
    for (quad, (weights, x)) in quads.enumerate() {
        let dots = &mut dots[quad / 4];
        for (dot, w) in dots.iter_mut().zip(weights.as_chunks::<4>().0) {
            for i in 0..4 {
                let w = i32::from(w[i]) - i32::from(block.zero);
                *dot += w * i32::from(x[i]);
            }
        }
    }
    dots
}
