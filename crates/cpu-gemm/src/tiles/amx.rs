//! Matrix tiles: up to 32 rows × 32 outputs at a time.

use std::arch::asm;
use std::ops::Range;

use super::{LANES, Product};
use crate::kernels::x86::tiles::{Config, release};

/// # Safety
/// As for [`super::multiply_tiles`]; the CPU must have AMX-BF16, and this process may use it.
pub(super) unsafe fn run(product: &Product) {
    for row in (0..product.m).step_by(2 * LANES) {
        let upper = (product.m - row).min(LANES);
        let lower = (product.m - row - upper).min(LANES);
        // Registers 0 to 3 are sums, 4 and 5 rows of A, 6 and 7 tiles of B.
        let (first, second, b) = ((upper, 64), (lower.max(1), 64), (LANES, 64));
        let config = Config::new([first, first, second, second, first, second, b, b]);
        // SAFETY: the configuration is valid for palette 1; rows, steps and panels exist.
        unsafe {
            config.load();
            columns(product, row, upper, lower, 0..product.panels);
        }
    }
    // SAFETY: ends the use of tiles, so that task switches need not save them.
    unsafe { release() };
}

unsafe fn columns(product: &Product, row: usize, upper: usize, lower: usize, panels: Range<usize>) {
    let mut panel = panels.start;
    while panel < panels.end {
        let wide = panel + 2 <= panels.end;
        // SAFETY: the caller's: these rows and panels exist.
        unsafe {
            match (wide, lower > 0) {
                (true, true) => four(product, row, panel),
                (true, false) => two(product, row, panel),
                (false, _) => {
                    one(product, row, panel);
                    if lower > 0 {
                        one_lower(product, row + upper, panel);
                    }
                }
            }
        }
        panel += if wide { 2 } else { 1 };
    }
}

/// Addresses of a block of sums: A's rows, B's tile, and where the sums go.
unsafe fn addresses(
    product: &Product,
    row: usize,
    panel: usize,
) -> (*const u16, *const u16, *mut f32) {
    // SAFETY: the caller's: row and panel exist.
    unsafe {
        (
            product.a.add(row * product.a_stride),
            product.tile(0, panel),
            product.out.add(row * product.out_stride + panel * LANES),
        )
    }
}

/// 32 rows × 32 outputs.
unsafe fn four(product: &Product, row: usize, panel: usize) {
    // SAFETY: the caller's: the rows and both panels exist; the loop ends after `steps` tiles.
    unsafe {
        let (a, b, out) = addresses(product, row, panel);
        let (low_a, _, low_out) = addresses(product, row + LANES, panel);
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "tileloadd tmm4, [{a} + {a_stride}]",
            "tileloadd tmm6, [{b} + {line}]",
            "tileloadd tmm7, [{b1} + {line}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{low_a} + {a_stride}]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {a}, 64",
            "add {low_a}, 64",
            "add {b}, {step}",
            "add {b1}, {step}",
            "dec {n}",
            "jnz 2b",
            "tilestored [{out} + {out_stride}], tmm0",
            "tilestored [{out} + {out_stride} + 64], tmm1",
            "tilestored [{low_out} + {out_stride}], tmm2",
            "tilestored [{low_out} + {out_stride} + 64], tmm3",
            a = inout(reg) a => _,
            low_a = inout(reg) low_a => _,
            a_stride = in(reg) product.a_stride * 2,
            b = inout(reg) b => _,
            b1 = inout(reg) b.add(product.b.panel_stride) => _,
            line = in(reg) 64usize,
            step = in(reg) product.b.step_stride * 2,
            n = inout(reg) product.steps => _,
            out = in(reg) out,
            low_out = in(reg) low_out,
            out_stride = in(reg) product.out_stride * 4,
            options(nostack)
        );
    }
}

/// Up to 16 rows × 32 outputs.
unsafe fn two(product: &Product, row: usize, panel: usize) {
    // SAFETY: as in `four`.
    unsafe {
        let (a, b, out) = addresses(product, row, panel);
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "2:",
            "tileloadd tmm4, [{a} + {a_stride}]",
            "tileloadd tmm6, [{b} + {line}]",
            "tileloadd tmm7, [{b1} + {line}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "add {a}, 64",
            "add {b}, {step}",
            "add {b1}, {step}",
            "dec {n}",
            "jnz 2b",
            "tilestored [{out} + {out_stride}], tmm0",
            "tilestored [{out} + {out_stride} + 64], tmm1",
            a = inout(reg) a => _,
            a_stride = in(reg) product.a_stride * 2,
            b = inout(reg) b => _,
            b1 = inout(reg) b.add(product.b.panel_stride) => _,
            line = in(reg) 64usize,
            step = in(reg) product.b.step_stride * 2,
            n = inout(reg) product.steps => _,
            out = in(reg) out,
            out_stride = in(reg) product.out_stride * 4,
            options(nostack)
        );
    }
}

/// The upper rows × 16 outputs.
unsafe fn one(product: &Product, row: usize, panel: usize) {
    // SAFETY: as in `four`.
    unsafe {
        let (a, b, out) = addresses(product, row, panel);
        asm!(
            "tilezero tmm0",
            "2:",
            "tileloadd tmm4, [{a} + {a_stride}]",
            "tileloadd tmm6, [{b} + {line}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "add {a}, 64",
            "add {b}, {step}",
            "dec {n}",
            "jnz 2b",
            "tilestored [{out} + {out_stride}], tmm0",
            a = inout(reg) a => _,
            a_stride = in(reg) product.a_stride * 2,
            b = inout(reg) b => _,
            line = in(reg) 64usize,
            step = in(reg) product.b.step_stride * 2,
            n = inout(reg) product.steps => _,
            out = in(reg) out,
            out_stride = in(reg) product.out_stride * 4,
            options(nostack)
        );
    }
}

/// The lower rows × 16 outputs.
unsafe fn one_lower(product: &Product, row: usize, panel: usize) {
    // SAFETY: as in `four`.
    unsafe {
        let (a, b, out) = addresses(product, row, panel);
        asm!(
            "tilezero tmm2",
            "2:",
            "tileloadd tmm5, [{a} + {a_stride}]",
            "tileloadd tmm6, [{b} + {line}]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "add {a}, 64",
            "add {b}, {step}",
            "dec {n}",
            "jnz 2b",
            "tilestored [{out} + {out_stride}], tmm2",
            a = inout(reg) a => _,
            a_stride = in(reg) product.a_stride * 2,
            b = inout(reg) b => _,
            line = in(reg) 64usize,
            step = in(reg) product.b.step_stride * 2,
            n = inout(reg) product.steps => _,
            out = in(reg) out,
            out_stride = in(reg) product.out_stride * 4,
            options(nostack)
        );
    }
}
