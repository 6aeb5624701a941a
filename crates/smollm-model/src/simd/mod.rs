//! Vector arithmetic chosen at run time.
//!
//! A kernel is written once, generic over [`Simd`], and [`dispatch`] instantiates it for the best
//! instruction set that the CPU reports: AVX-512, AVX2 with FMA, or portable Rust. Generic builds
//! are therefore as fast as `target-cpu=native` ones. Set `SMOLTUNE_SIMD=avx2|portable` to force a
//! lower level (tests compare the levels with each other).

// Intrinsics become single instructions only inside a function that has the CPU feature, so
// everything between that function and the intrinsic has to be inlined.
#![allow(clippy::inline_always)]

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::sync::OnceLock;

use half::bf16;

use portable::Portable;

/// A vector of `LANES` f32 values and the operations that the kernels need.
///
/// # Safety
/// Every method may use instructions that only the matching CPU has: call them only from code that
/// [`dispatch`] runs. Pointers must be valid for `LANES` (or `n`) elements; alignment is not needed.
pub(crate) trait Simd: Copy {
    /// The register type.
    type V: Copy;
    /// f32 values in a register.
    const LANES: usize;

    unsafe fn zero() -> Self::V;
    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(p: *const f32) -> Self::V;
    /// The first `n < LANES` values; the rest is zero.
    unsafe fn load_n(p: *const f32, n: usize) -> Self::V;
    /// `LANES` bf16 values, widened (exact).
    unsafe fn load_bf16(p: *const bf16) -> Self::V;
    unsafe fn store(p: *mut f32, v: Self::V);
    /// Stores the first `n < LANES` values.
    unsafe fn store_n(p: *mut f32, v: Self::V, n: usize);
    /// `a * b + c`, in one rounding where the CPU has FMA.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// Sum of all lanes, in one fixed order.
    unsafe fn sum(v: Self::V) -> f32;
}

/// An element type that a frozen weight may be stored in; arithmetic is f32.
pub(crate) trait Element: Copy + Send + Sync + 'static {
    /// # Safety
    /// As for [`Simd::load`].
    unsafe fn load<S: Simd>(p: *const Self) -> S::V;
    /// # Safety
    /// As for [`Simd::load_n`].
    unsafe fn load_n<S: Simd>(p: *const Self, n: usize) -> S::V;
}

impl Element for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const Self) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { S::load(p) }
    }
    #[inline(always)]
    unsafe fn load_n<S: Simd>(p: *const Self, n: usize) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { S::load_n(p, n) }
    }
}

impl Element for bf16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const Self) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { S::load_bf16(p) }
    }
    #[inline(always)]
    unsafe fn load_n<S: Simd>(p: *const Self, n: usize) -> S::V {
        let mut wide = [0f32; 16];
        for (i, w) in wide.iter_mut().enumerate().take(n) {
            // SAFETY: `p` is valid for `n` elements by the caller's promise.
            *w = unsafe { *p.add(i) }.to_f32();
        }
        // SAFETY: `wide` has 16 values, the most that a register of any level holds.
        unsafe { S::load(wide.as_ptr()) }
    }
}

/// A computation that can run at any instruction-set level.
pub(crate) trait Kernel {
    type Output;
    /// # Safety
    /// Only [`dispatch`] may call it; implementations are `#[inline(always)]`, so that the body is
    /// compiled with the level's instructions.
    unsafe fn run<S: Simd>(self) -> Self::Output;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| detect(std::env::var("SMOLTUNE_SIMD").ok().as_deref()))
}

#[cfg(target_arch = "x86_64")]
fn detect(limit: Option<&str>) -> Level {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let avx512 = avx2
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl");
    match limit {
        Some("portable") => Level::Portable,
        Some("avx2") if avx2 => Level::Avx2,
        _ if avx512 => Level::Avx512,
        _ if avx2 => Level::Avx2,
        _ => Level::Portable,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect(_limit: Option<&str>) -> Level {
    Level::Portable
}

/// Runs `kernel` with the best instruction set of this CPU.
pub(crate) fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    match level() {
        // SAFETY: portable code needs no CPU feature.
        Level::Portable => unsafe { kernel.run::<Portable>() },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `level` has seen AVX2 and FMA on this CPU.
        Level::Avx2 => unsafe { x86::run_avx2(kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `level` has seen AVX-512 F, BW and VL on this CPU.
        Level::Avx512 => unsafe { x86::run_avx512(kernel) },
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Runs `kernel` at every level that this CPU has.
    pub(crate) fn at_every_level<K: Kernel + Clone>(kernel: &K) -> Vec<K::Output> {
        // SAFETY: as in `dispatch`.
        let mut out = vec![unsafe { kernel.clone().run::<Portable>() }];
        #[cfg(target_arch = "x86_64")]
        {
            if detect(Some("avx2")) != Level::Portable {
                // SAFETY: AVX2 was detected.
                out.push(unsafe { x86::run_avx2(kernel.clone()) });
            }
            if detect(None) == Level::Avx512 {
                // SAFETY: AVX-512 was detected.
                out.push(unsafe { x86::run_avx512(kernel.clone()) });
            }
        }
        out
    }
}
