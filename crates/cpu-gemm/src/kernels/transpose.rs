//! Blocks of 16 outputs × 16 inputs, turned: in plain Rust, and with AVX-512.

use crate::cpu::Capabilities;
#[cfg(target_arch = "x86_64")]
use crate::cpu::Feature;
use crate::format::LANES;
#[cfg(target_arch = "x86_64")]
use crate::kernels::x86;

/// A block of f32: `to[output][input] = from[input][output]`.
///
/// # Safety
/// Both must be valid for 256 values and aligned to 64, and the CPU must have `capabilities`.
pub(crate) unsafe fn words(capabilities: Capabilities, from: *const f32, to: *mut f32) {
    #[cfg(not(target_arch = "x86_64"))]
    let _ = capabilities;
    // SAFETY: the caller's promise.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if capabilities.has(Feature::Avx512) {
            return x86::transpose::words(from, to);
        }
        edge(from, LANES, to, LANES);
    }
}

/// The part of a block of f32 with so many inputs and outputs; inputs beyond become zero.
///
/// # Safety
/// `from` must be valid for `inputs` rows of 16 values, `to` for `outputs` of them.
pub(crate) unsafe fn edge(from: *const f32, inputs: usize, to: *mut f32, outputs: usize) {
    for output in 0..outputs {
        for input in 0..LANES {
            // SAFETY: the caller's promise.
            unsafe {
                let value = if input < inputs {
                    from.add(input * LANES + output).read()
                } else {
                    0.0
                };
                to.add(output * LANES + input).write(value);
            }
        }
    }
}

/// A block of bf16, whose words hold two inputs of one output before and two outputs of one input after.
///
/// # Safety
/// Both must be valid for 128 words and aligned to 64, and the CPU must have `capabilities`.
pub(crate) unsafe fn pairs(capabilities: Capabilities, from: *const u32, to: *mut u32) {
    #[cfg(not(target_arch = "x86_64"))]
    let _ = capabilities;
    // SAFETY: the caller's promise.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if capabilities.has(Feature::Avx512) {
            return x86::transpose::pairs(from, to);
        }
        let half = |input: usize, output: usize| {
            let word = from.add(input / 2 * LANES + output).read();
            word >> (16 * (input % 2)) & 0xffff
        };
        for pair in 0..LANES / 2 {
            for input in 0..LANES {
                let word = half(input, 2 * pair) | half(input, 2 * pair + 1) << 16;
                to.add(pair * LANES + input).write(word);
            }
        }
    }
}
