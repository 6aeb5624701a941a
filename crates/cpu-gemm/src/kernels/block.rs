//! One block of a quantised panel, and panels widened to f32, in plain Rust: what every faster
//! kernel is compared with. The loops vectorise where they are compiled for wider registers.
#![allow(
    clippy::inline_always,
    reason = "bodies must be compiled with their caller's instruction set"
)]

use crate::format::{BLOCK, Format, LANES, Layout, Scales};

/// A block of 32 inputs × 16 outputs, levels still unsigned.
pub(crate) struct Block {
    /// Of each output, for either half of the inputs.
    pub(crate) scales: [[f32; LANES]; 2],
    /// Whether the halves' scales differ.
    pub(crate) halves: bool,
    /// Of each output; `None` for formats without.
    pub(crate) mins: Option<[f32; LANES]>,
    /// `[quad of inputs][output · 4 + input within the quad]`.
    pub(crate) levels: [[u8; 4 * LANES]; BLOCK / 4],
    /// The level that means zero.
    pub(crate) zero: u8,
}

impl Block {
    /// Block `b` of a panel.
    #[inline(always)]
    pub(crate) fn read(format: Format, panel: &[u8], b: usize) -> Self {
        let layout = format.layout();
        let head = &panel[layout.scales(b)..];
        let (scales, mins) = match layout.scales {
            Scales::Halves => ([halves(head); 2], None),
            Scales::HalvesAndMins => ([halves(head); 2], Some(halves(&head[32..]))),
            Scales::SinglesAndMins => ([singles(head); 2], Some(singles(&head[64..]))),
            Scales::Products => (products(head), None),
        };
        Self {
            scales,
            halves: layout.scales == Scales::Products,
            mins,
            levels: levels(layout, &panel[layout.levels(b)..][..layout.levels]),
            zero: format.zero_level(),
        }
    }

    /// The weights of all outputs for input `i` of the block. Scale times level is exact in f32, so
    /// a fused multiplication and this one give the same bits.
    #[inline(always)]
    fn weights(&self, i: usize) -> [f32; LANES] {
        let mut weights = [0f32; LANES];
        let words = self.levels[i / 4].as_chunks::<4>().0;
        let scales = &self.scales[i / (BLOCK / 2)];
        for (o, to) in weights.iter_mut().enumerate() {
            let level = u32::from_le_bytes(words[o]) >> (8 * (i % 4)) & 255;
            *to = scales[o] * (level as i32 - i32::from(self.zero)) as f32;
        }
        if let Some(mins) = &self.mins {
            for (to, min) in weights.iter_mut().zip(mins) {
                *to += min;
            }
        }
        weights
    }
}

/// The levels of a block, a byte each, see [`Layout`].
#[inline(always)]
fn levels(layout: Layout, bytes: &[u8]) -> [[u8; 4 * LANES]; BLOCK / 4] {
    let vectors = bytes.as_chunks::<{ 4 * LANES }>().0;
    let mut levels = [[0; 4 * LANES]; BLOCK / 4];
    for (quad, levels) in levels.iter_mut().enumerate() {
        if layout.bits == 8 {
            *levels = vectors[quad];
            continue;
        }
        for (to, byte) in levels.iter_mut().zip(&vectors[quad % 4]) {
            *to = byte >> (4 * (quad / 4)) & 15;
        }
        let (vector, shift, mask) = upper(layout, quad);
        if mask != 0 {
            for (to, byte) in levels.iter_mut().zip(&vectors[vector]) {
                *to |= (byte >> shift & mask) << 4;
            }
        }
    }
    levels
}

/// Where the bits above four of a quad are: the vector, the lowest bit in its bytes, and a mask as wide as they are.
#[inline(always)]
fn upper(layout: Layout, quad: usize) -> (usize, usize, u8) {
    match layout.bits {
        5 => (4, quad, 1),
        6 => (4 + quad / 4, quad % 4 * 2, 3),
        _ => (0, 0, 0),
    }
}

#[inline(always)]
fn halves(bytes: &[u8]) -> [f32; LANES] {
    let halves = bytes.as_chunks::<2>().0;
    let mut out = [0f32; LANES];
    for (to, half) in out.iter_mut().zip(halves) {
        *to = widen_half(u16::from_le_bytes(*half));
    }
    out
}

/// The scales of either half of a block's inputs: exact in f32.
#[inline(always)]
fn products(head: &[u8]) -> [[f32; LANES]; 2] {
    let mut both = [halves(head); 2];
    for (scales, factors) in both.iter_mut().zip(head[32..].as_chunks::<LANES>().0) {
        for (scale, factor) in scales.iter_mut().zip(factors) {
            *scale *= f32::from(*factor as i8);
        }
    }
    both
}

/// An f16 as f32: exact, subnormals, infinities and NaNs too.
#[inline(always)]
fn widen_half(half: u16) -> f32 {
    const TWO_TO_112: f32 = f32::from_bits((127 + 112) << 23);
    let magnitude = u32::from(half & 0x7fff) << 13;
    let finite = (f32::from_bits(magnitude) * TWO_TO_112).to_bits();
    let endless = half & 0x7c00 == 0x7c00;
    let bits = if endless {
        magnitude | 0x7f80_0000
    } else {
        finite
    };
    f32::from_bits(bits | u32::from(half & 0x8000) << 16)
}

#[inline(always)]
fn singles(bytes: &[u8]) -> [f32; LANES] {
    let words = bytes.as_chunks::<4>().0;
    let mut out = [0f32; LANES];
    for (to, word) in out.iter_mut().zip(words) {
        *to = f32::from_le_bytes(*word);
    }
    out
}

/// A panel of any format as f32: `out[k · 16 + output]`.
#[inline(always)]
pub(crate) fn widen(format: Format, panel: &[u8], k: usize, out: &mut [f32]) {
    match format {
        Format::F32 => {
            for (to, from) in out.iter_mut().zip(panel.as_chunks::<4>().0) {
                *to = f32::from_le_bytes(*from);
            }
        }
        Format::Bf16 => {
            let pairs = panel.as_chunks::<4>().0.as_chunks::<LANES>().0;
            for (i, to) in out.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                for (to, pair) in to.iter_mut().zip(&pairs[i / 2]) {
                    let word = u32::from_le_bytes(*pair);
                    let upper = if i % 2 == 0 {
                        word << 16
                    } else {
                        word & 0xffff_0000
                    };
                    *to = f32::from_bits(upper);
                }
            }
        }
        _ => {
            let blocks = out.as_chunks_mut::<LANES>().0.as_chunks_mut::<BLOCK>().0;
            debug_assert_eq!(blocks.len(), k / BLOCK);
            for (b, to) in blocks.iter_mut().enumerate() {
                widen_block(format, panel, b, to);
            }
        }
    }
}

/// Block `b` of a quantised panel as f32: `out[input][output]`.
#[inline(always)]
pub(crate) fn widen_block(format: Format, panel: &[u8], b: usize, out: &mut [[f32; LANES]; BLOCK]) {
    let block = Block::read(format, panel, b);
    for (i, to) in out.iter_mut().enumerate() {
        *to = block.weights(i);
    }
}

/// One row of a packed matrix: output `output` of a panel.
pub(crate) fn row(format: Format, panel: &[u8], output: usize, out: &mut [f32]) {
    match format {
        Format::F32 => {
            let words = panel.as_chunks::<4>().0.iter().skip(output).step_by(LANES);
            for (to, word) in out.iter_mut().zip(words) {
                *to = f32::from_le_bytes(*word);
            }
        }
        Format::Bf16 => {
            let pairs = panel.as_chunks::<4>().0.iter().skip(output).step_by(LANES);
            for (to, pair) in out.chunks_mut(2).zip(pairs) {
                let word = u32::from_le_bytes(*pair);
                let both = [word << 16, word & 0xffff_0000].map(f32::from_bits);
                to.copy_from_slice(&both[..to.len()]);
            }
        }
        _ => {
            for (b, to) in out.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
                quantised_row(format, panel, b, output, to);
            }
        }
    }
}

/// Block `b` of one output.
fn quantised_row(format: Format, panel: &[u8], b: usize, output: usize, to: &mut [f32; BLOCK]) {
    let layout = format.layout();
    let head = &panel[layout.scales(b)..];
    let half = |at: usize| {
        let at = at + 2 * output;
        widen_half(u16::from_le_bytes([head[at], head[at + 1]]))
    };
    let (scales, min) = match layout.scales {
        Scales::Halves => ([half(0); 2], 0.0),
        Scales::HalvesAndMins => ([half(0); 2], half(32)),
        Scales::SinglesAndMins => ([singles(head)[output]; 2], singles(&head[64..])[output]),
        Scales::Products => {
            let product = |at: usize| half(0) * f32::from(head[at + output] as i8);
            ([product(32), product(32 + LANES)], 0.0)
        }
    };
    let zero = i32::from(format.zero_level());
    let levels = &panel[layout.levels(b)..][..layout.levels];
    for (i, to) in to.iter_mut().enumerate() {
        let level = i32::from(level(layout, levels, output, i));
        *to = scales[i / (BLOCK / 2)] * (level - zero) as f32 + min;
    }
}

/// One level of a block.
fn level(layout: Layout, levels: &[u8], output: usize, i: usize) -> u8 {
    let (quad, lane) = (i / 4, output * 4 + i % 4);
    if layout.bits == 8 {
        return levels[quad * 4 * LANES + lane];
    }
    let low = levels[quad % 4 * 4 * LANES + lane] >> (quad / 4 * 4) & 15;
    let (vector, shift, mask) = upper(layout, quad);
    low | (levels[vector * 4 * LANES + lane] >> shift & mask) << 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_widen_exactly() {
        for bits in 0..=u16::MAX {
            let expected = half::f16::from_bits(bits).to_f32();
            let found = widen_half(bits);
            assert!(
                found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan(),
                "{bits:#x}: {found}, not {expected}"
            );
        }
    }

    #[test]
    fn a_row_is_a_column_of_the_widened_panel() {
        let bytes: Vec<u8> = (0..8192).map(|i| (i * 89 % 251) as u8 & 0x7b).collect();
        for format in Format::QUANTISED {
            let mut wide = vec![0f32; 96 * LANES];
            let panel = &bytes[..format.panel_bytes(96).unwrap()];
            widen(format, panel, 96, &mut wide);
            for output in 0..LANES {
                let mut found = [0f32; 96];
                row(format, panel, output, &mut found);
                let expected = wide.iter().skip(output).step_by(LANES);
                assert!(found.iter().eq(expected), "{format} {output}");
            }
        }
    }
}
