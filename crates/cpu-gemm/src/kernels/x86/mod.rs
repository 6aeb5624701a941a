//! Kernels for x86-64.
//!
//! Bodies are `#[inline(always)]` and generic; they become the intended instructions once they are
//! inlined into a function that has the CPU feature.
#![allow(clippy::inline_always)]

pub(crate) mod amx;
pub(crate) mod amx_int8;
pub(crate) mod avx2;
pub(crate) mod bf16;
pub(crate) mod f32;
pub(crate) mod narrow;
pub(crate) mod tiles;
pub(crate) mod transpose;
pub(crate) mod vnni;

use std::arch::x86_64::{__m512, __mmask16, _mm512_mask_storeu_ps};

use crate::format::Format;

/// Stores the first `columns` values.
///
/// # Safety
/// AVX-512F, and `to` must be valid for `columns` elements, at most 16.
#[inline(always)]
unsafe fn store(to: *mut f32, values: __m512, columns: usize) {
    let mask = ((1u32 << columns) - 1) as __mmask16;
    // SAFETY: the caller's promise; lanes outside the mask are not touched.
    unsafe { _mm512_mask_storeu_ps(to, mask, values) }
}

/// A quantised format as constants, so that a kernel is compiled for each.
trait Quantised {
    const FORMAT: Format;
    /// Whether blocks have minima.
    const MINS: bool;
}

macro_rules! quantised {
    ($($name:ident = $format:ident $mins:literal),*) => {$(
        struct $name;
        impl Quantised for $name {
            const FORMAT: Format = Format::$format;
            const MINS: bool = $mins;
        }
    )*};
}
quantised!(Q80 = Q8_0 false, Q40 = Q4_0 false, Q41 = Q4_1 true, Q4K = Q4_K true);

/// Evaluates `$body` with the type `$name` of a quantised format.
macro_rules! quantised_formats {
    ($format:expr, $name:ident => $body:expr) => {
        match $format {
            $crate::format::Format::Q8_0 => {
                type $name = $crate::kernels::x86::Q80;
                $body
            }
            $crate::format::Format::Q4_0 => {
                type $name = $crate::kernels::x86::Q40;
                $body
            }
            $crate::format::Format::Q4_1 => {
                type $name = $crate::kernels::x86::Q41;
                $body
            }
            $crate::format::Format::Q4_K => {
                type $name = $crate::kernels::x86::Q4K;
                $body
            }
            format => unreachable!("{format} is not quantised"),
        }
    };
}
use quantised_formats;

/// Evaluates `$body` with the constant `$name`, that one of those listed which equals `$rows`.
macro_rules! with_rows {
    ($rows:expr, [$($r:literal)*], $name:ident => $body:expr) => {
        match $rows {
            $($r => { const $name: usize = $r; $body })*
            rows => unreachable!("a tile of {rows} rows"),
        }
    };
}
use with_rows;
