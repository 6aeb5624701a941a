//! Kernels for x86-64.
//!
//! Bodies are `#[inline(always)]` and generic; they become the intended instructions once they are
//! inlined into a function that has the CPU feature.
#![allow(clippy::inline_always)]

pub(crate) mod amx;
pub(crate) mod bf16;
pub(crate) mod f32;
pub(crate) mod narrow;
pub(crate) mod vnni;

use std::arch::x86_64::{__m512, __mmask16, _mm512_mask_storeu_ps};

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
