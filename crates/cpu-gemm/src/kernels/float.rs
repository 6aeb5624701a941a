//! Weights of any format times f32 or bf16 activations, summed in f32 in the order of `k`.

use half::bf16;

use crate::cpu::Capabilities;
#[cfg(target_arch = "x86_64")]
use crate::cpu::Feature;
use crate::format::{BLOCK, Format, LANES, OperandKind};
#[cfg(target_arch = "x86_64")]
use crate::kernels::x86;
use crate::kernels::{Job, block};
use crate::operand::{F32_GROUP, TILE, TILE_ROW};

/// # Safety
/// As for [`super::run`]; the operand is `F32`, or `Bf16` for a format other than `F32`.
pub(crate) unsafe fn run(capabilities: Capabilities, job: &Job) {
    #[cfg(not(target_arch = "x86_64"))]
    let _ = capabilities;
    // SAFETY: the caller's promise; each kernel's CPU feature is among the capabilities.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        match job.x.kind() {
            OperandKind::Bf16 if capabilities.has(Feature::AmxBf16) => return x86::amx::run(job),
            OperandKind::Bf16 if capabilities.has(Feature::Bf16) => return x86::bf16::run(job),
            OperandKind::F32 if capabilities.has(Feature::Avx512) => return x86::f32::avx512(job),
            OperandKind::F32 if capabilities.has(Feature::Avx2) => return x86::f32::avx2(job),
            _ => {}
        }
        portable(job);
    }
}

/// Plain Rust: one chain of additions for each output, rows one by one.
unsafe fn portable(job: &Job) {
    let mut panel = vec![0f32; job.k * LANES];
    for p in job.panels() {
        block::widen(job.format, job.panel(p), job.k, &mut panel);
        if job.x.kind() == OperandKind::Bf16 {
            round(job.format, &mut panel);
        }
        for row in 0..job.rows() {
            let mut sums = [0f32; LANES];
            for (k, weights) in panel.as_chunks::<LANES>().0.iter().enumerate() {
                // SAFETY: the operand has this row and this input.
                let x = unsafe { input(job, row, k) };
                for (sum, w) in sums.iter_mut().zip(weights) {
                    *sum = multiply_add(x, *w, *sum);
                }
            }
            // SAFETY: row and panel are the job's.
            unsafe { job.store(row, p, &sums) };
        }
    }
}

/// Fused where the target always has it; elsewhere a fused product would be a call per element.
fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
        a.mul_add(b, c)
    } else {
        a * b + c
    }
}

/// Beside bf16 activations, dequantised weights are bf16 too.
fn round(format: Format, panel: &mut [f32]) {
    if format.is_quantised() {
        for w in panel {
            *w = bf16::from_f32(*w).to_f32();
        }
    }
}

/// # Safety
/// The operand must have this row and this input.
unsafe fn input(job: &Job, row: usize, k: usize) -> f32 {
    // SAFETY: the caller's promise, with the operand's layout.
    unsafe {
        if job.x.kind() == OperandKind::F32 {
            let group = job.x.base().add(row / F32_GROUP * job.x.stride());
            return group
                .cast::<f32>()
                .add(k * F32_GROUP + row % F32_GROUP)
                .read();
        }
        let tile = job
            .x
            .base()
            .add(row / 16 * job.x.stride() + k / BLOCK * TILE);
        let from = tile.add(row % 16 * TILE_ROW).cast::<bf16>();
        from.add(k % BLOCK).read().to_f32()
    }
}
