//! One block of a quantised panel in plain Rust: what every faster kernel is compared with.

use half::{bf16, f16};

use crate::format::{BLOCK, Format, LANES};

/// A block of 32 inputs × 16 outputs, levels still unsigned.
pub(crate) struct Block {
    /// Of each output.
    pub(crate) scales: [f32; LANES],
    /// Of each output; `None` for formats without.
    pub(crate) mins: Option<[f32; LANES]>,
    /// `[quad of inputs][output · 4 + input within the quad]`.
    pub(crate) levels: [[u8; 4 * LANES]; BLOCK / 4],
    /// The level that means zero.
    pub(crate) zero: u8,
}

impl Block {
    /// Block `b` of a panel.
    pub(crate) fn read(format: Format, panel: &[u8], b: usize) -> Self {
        let layout = format.layout();
        let head = &panel[layout.scales(b)..];
        let (scales, mins) = match format {
            Format::Q4_K => (singles(head), Some(singles(&head[64..]))),
            Format::Q4_1 => (halves(head), Some(halves(&head[32..]))),
            _ => (halves(head), None),
        };
        let bytes = &panel[layout.levels(b)..][..layout.levels];
        let vectors = bytes.as_chunks::<{ 4 * LANES }>().0;
        let levels = std::array::from_fn(|quad| {
            if format == Format::Q8_0 {
                return vectors[quad];
            }
            let shift = 4 * (quad / 4);
            vectors[quad % 4].map(|byte| byte >> shift & 15)
        });
        Self {
            scales,
            mins,
            levels,
            zero: format.zero_level(),
        }
    }

    /// The weight of `output` for input `i` of the block. Scale times level is exact in f32, so a
    /// fused multiplication and this one give the same bits.
    pub(crate) fn weight(&self, output: usize, i: usize) -> f32 {
        let level = i32::from(self.levels[i / 4][output * 4 + i % 4]) - i32::from(self.zero);
        let product = self.scales[output] * level as f32;
        self.mins.map_or(product, |mins| product + mins[output])
    }
}

fn halves(bytes: &[u8]) -> [f32; LANES] {
    std::array::from_fn(|o| f16::from_le_bytes([bytes[2 * o], bytes[2 * o + 1]]).to_f32())
}

fn singles(bytes: &[u8]) -> [f32; LANES] {
    let words = bytes.as_chunks::<4>().0;
    std::array::from_fn(|o| f32::from_le_bytes(words[o]))
}

/// A panel of any format as f32: `out[k · 16 + output]`.
pub(crate) fn widen(format: Format, panel: &[u8], k: usize, out: &mut [f32]) {
    match format {
        Format::F32 => {
            for (to, from) in out.iter_mut().zip(panel.as_chunks::<4>().0) {
                *to = f32::from_le_bytes(*from);
            }
        }
        Format::Bf16 => {
            let values = panel.as_chunks::<2>().0;
            for (i, to) in out.iter_mut().enumerate() {
                let (input, output) = (i / LANES, i % LANES);
                let at = (input / 2 * LANES + output) * 2 + input % 2;
                *to = bf16::from_le_bytes(values[at]).to_f32();
            }
        }
        _ => {
            for b in 0..k / BLOCK {
                let block = Block::read(format, panel, b);
                let to = &mut out[b * BLOCK * LANES..][..BLOCK * LANES];
                for (i, to) in to.iter_mut().enumerate() {
                    *to = block.weight(i % LANES, i / LANES);
                }
            }
        }
    }
}

/// One row of a packed matrix: output `output` of a panel.
pub(crate) fn row(format: Format, panel: &[u8], output: usize, out: &mut [f32]) {
    match format {
        Format::F32 | Format::Bf16 => {
            for (input, to) in out.iter_mut().enumerate() {
                *to = plain_weight(format, panel, output, input);
            }
        }
        _ => {
            for (b, to) in out.chunks_exact_mut(BLOCK).enumerate() {
                let block = Block::read(format, panel, b);
                for (i, to) in to.iter_mut().enumerate() {
                    *to = block.weight(output, i);
                }
            }
        }
    }
}

fn plain_weight(format: Format, panel: &[u8], output: usize, input: usize) -> f32 {
    if format == Format::F32 {
        return f32::from_le_bytes(panel.as_chunks::<4>().0[input * LANES + output]);
    }
    let at = (input / 2 * LANES + output) * 2 + input % 2;
    bf16::from_le_bytes(panel.as_chunks::<2>().0[at]).to_f32()
}
