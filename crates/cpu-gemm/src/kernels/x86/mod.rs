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

use crate::format::{Format, Layout, Scales};

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
    const LAYOUT: Layout = Self::FORMAT.layout();
    /// Whether blocks have minima.
    const MINS: bool = Self::LAYOUT.scales.mins();
    /// Whether either half of a block has a scale.
    const HALVES: bool = matches!(Self::LAYOUT.scales, Scales::Products);
    /// What a level of zero weight is.
    const ZERO: u8 = Self::FORMAT.zero_level();
}

macro_rules! quantised {
    ($($name:ident)*) => {$(
        #[allow(non_camel_case_types, reason = "ggml's own names")]
        struct $name;
        impl Quantised for $name {
            const FORMAT: Format = Format::$name;
        }
    )*};
}
quantised!(Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q4_K Q5_K Q6_K);

/// Evaluates `$body` with the type `$name` of a quantised format.
macro_rules! quantised_formats {
    ($format:expr, $name:ident => $body:expr) => {
        $crate::kernels::x86::quantised_formats!(
            $format, $name => $body, Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q4_K Q5_K Q6_K
        )
    };
    ($format:expr, $name:ident => $body:expr, $($each:ident)*) => {
        match $format {
            $($crate::format::Format::$each => {
                type $name = $crate::kernels::x86::$each;
                $body
            })*
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
