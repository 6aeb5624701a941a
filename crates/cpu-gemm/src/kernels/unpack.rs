//! One block of a quantised panel as floats, with the instructions that the CPU has.

use half::bf16;

use crate::cpu::Capabilities;
#[cfg(target_arch = "x86_64")]
use crate::cpu::Feature;
use crate::format::{BLOCK, Format, LANES};
use crate::kernels::block::widen_block;
#[cfg(target_arch = "x86_64")]
use crate::kernels::x86;

/// Room for a block of 32 inputs × 16 outputs: a piece of a panel of f32, or in its first half of one of bf16.
#[repr(C, align(64))]
pub(crate) struct Unpacked([[f32; LANES]; BLOCK]);

impl Unpacked {
    pub(crate) fn new() -> Self {
        Self([[0.0; LANES]; BLOCK])
    }

    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.0.as_ptr().cast()
    }

    /// Block `b` of a panel in `format`, as it would stand in a panel of f32.
    ///
    /// # Safety
    /// The CPU must have `capabilities`.
    pub(crate) unsafe fn words(
        &mut self,
        capabilities: Capabilities,
        format: Format,
        panel: &[u8],
        b: usize,
    ) {
        #[cfg(not(target_arch = "x86_64"))]
        let _ = capabilities;
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the CPU has what the capabilities say.
        unsafe {
            if capabilities.has(Feature::Avx512) {
                return x86::f32::widen_block_avx512(format, panel, b, &mut self.0);
            }
            if capabilities.has(Feature::Avx2) {
                return x86::f32::widen_block_avx2(format, panel, b, &mut self.0);
            }
        }
        widen_block(format, panel, b, &mut self.0);
    }

    /// Block `b`, as it would stand in a panel of bf16: rounded to nearest even, two inputs of an output in a word.
    ///
    /// # Safety
    /// The CPU must have `capabilities`.
    pub(crate) unsafe fn pairs(
        &mut self,
        capabilities: Capabilities,
        format: Format,
        panel: &[u8],
        b: usize,
    ) {
        #[cfg(target_arch = "x86_64")]
        if capabilities.has(Feature::Bf16) {
            let to = self.0.as_mut_ptr().cast();
            // SAFETY: the CPU has the instructions; there is room for a block, aligned to 64.
            unsafe { x86::narrow::block(format, panel.as_ptr(), b, to) };
            return;
        }
        // SAFETY: the caller's promise.
        unsafe { self.words(capabilities, format, panel, b) };
        // A pair of rows becomes one row, which lies no further back.
        for pair in 0..BLOCK / 2 {
            let (low, high) = (self.0[2 * pair], self.0[2 * pair + 1]);
            let bits = |x: f32| u32::from(bf16::from_f32(x).to_bits());
            self.0[pair] =
                std::array::from_fn(|o| f32::from_bits(bits(low[o]) | bits(high[o]) << 16));
        }
    }
}
