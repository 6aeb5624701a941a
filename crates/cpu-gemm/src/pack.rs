//! Rows of ggml's blocks to panels of 16 outputs.

use half::f16;
use rayon::prelude::*;

use crate::format::{BLOCK, Format, LANES};
use crate::memory::Memory;

/// Appends row `i` as it would stand in a GGUF file.
pub(crate) type RowBytes<'a> = &'a (dyn Fn(usize, &mut Vec<u8>) + Sync);

/// A panel's place in memory that its thread alone writes.
#[derive(Clone, Copy)]
struct Start(*mut u8);
// SAFETY: each thread derives its own panel from it, see `pack`.
unsafe impl Sync for Start {}

/// Packs `n` rows. `memory` holds all panels, `panel_bytes` each.
pub(crate) fn pack(format: Format, n: usize, row: RowBytes, memory: &Memory, panel_bytes: usize) {
    let panels = n.div_ceil(LANES);
    debug_assert!(panels * panel_bytes <= memory.len());
    let start = Start(memory.as_ptr());
    let start = &start;
    let one = |buffer: &mut Vec<u8>, p: usize| {
        // SAFETY: panel `p` lies within the memory, and no other call has the same `p`. The bytes
        // are zeroed before a slice of them exists; so rows that pad the last panel have scale zero.
        let panel = unsafe {
            let at = start.0.add(p * panel_bytes);
            at.write_bytes(0, panel_bytes);
            std::slice::from_raw_parts_mut(at, panel_bytes)
        };
        for output in 0..LANES.min(n - p * LANES) {
            buffer.clear();
            row(p * LANES + output, buffer);
            pack_row(format, buffer, output, panel);
        }
    };
    (0..panels)
        .into_par_iter()
        .with_min_len(4)
        .for_each_init(Vec::new, one);
}

/// Spreads the words of one row over its column of the panel.
fn pack_row(format: Format, row: &[u8], output: usize, panel: &mut [u8]) {
    match format {
        Format::F32 => words(row, output, panel, |w| w),
        Format::Bf16 => {
            let (pairs, rest) = row.as_chunks::<4>();
            words(pairs.as_flattened(), output, panel, |w| w);
            if let [low, high] = *rest {
                let at = (pairs.len() * LANES + output) * 4;
                panel[at..at + 4].copy_from_slice(&[low, high, 0, 0]);
            }
        }
        Format::Q8_0 => simple_blocks(format, row, output, panel, 2, 0x8080_8080),
        Format::Q4_0 => simple_blocks(format, row, output, panel, 2, 0),
        Format::Q4_1 => simple_blocks(format, row, output, panel, 4, 0),
        Format::Q4_K => super_blocks(format, row, output, panel),
    }
}

/// Word `j` of the row goes to lane `output` of vector `j`.
fn words(row: &[u8], output: usize, panel: &mut [u8], change: impl Fn(u32) -> u32) {
    let vectors = panel.as_chunks_mut::<{ 4 * LANES }>().0;
    for (vector, word) in vectors.iter_mut().zip(row.as_chunks::<4>().0) {
        let word = change(u32::from_le_bytes(*word));
        vector[output * 4..][..4].copy_from_slice(&word.to_le_bytes());
    }
}

/// Blocks of 32 with one scale of two bytes, or a scale and a minimum, in front of their levels.
fn simple_blocks(
    format: Format,
    row: &[u8],
    output: usize,
    panel: &mut [u8],
    head: usize,
    flip: u32,
) {
    let layout = format.layout();
    for (b, block) in row.chunks_exact(format.block_bytes()).enumerate() {
        let (scales, levels) = block.split_at(head);
        for (i, half) in scales.as_chunks::<2>().0.iter().enumerate() {
            let at = layout.scales(b) + i * layout.head / 2 + output * 2;
            panel[at..at + 2].copy_from_slice(half);
        }
        let to = &mut panel[layout.levels(b)..][..layout.levels];
        words(levels, output, to, |w| w ^ flip);
    }
}

/// `Q4_K`: eight blocks of 32 with six-bit scales and minima of their own.
fn super_blocks(format: Format, row: &[u8], output: usize, panel: &mut [u8]) {
    let layout = format.layout();
    for (s, block) in row.as_chunks::<144>().0.iter().enumerate() {
        let half = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]).to_f32();
        let (d, dmin) = (half(0), half(2));
        for j in 0..8 {
            let b = s * 8 + j;
            let (scale, min) = scale_and_min(&block[4..16], j);
            let at = layout.scales(b) + output * 4;
            panel[at..at + 4].copy_from_slice(&(d * scale).to_le_bytes());
            panel[at + 64..at + 68].copy_from_slice(&(-(dmin * min)).to_le_bytes());
            // Sixty-four elements share 32 bytes: the even block has the lower halves.
            let bytes = &block[16 + j / 2 * BLOCK..][..BLOCK];
            let level = |i: usize| bytes[i] >> (4 * (j % 2)) & 15;
            let packed: [u8; BLOCK / 2] =
                std::array::from_fn(|i| level(i) | level(i + BLOCK / 2) << 4);
            let to = &mut panel[layout.levels(b)..][..layout.levels];
            words(&packed, output, to, |w| w);
        }
    }
}

/// The six-bit scale and minimum of block `j` (ggml's `get_scale_min_k4`).
fn scale_and_min(q: &[u8], j: usize) -> (f32, f32) {
    let (scale, min) = if j < 4 {
        (q[j] & 63, q[j + 4] & 63)
    } else {
        (
            q[j + 4] & 15 | (q[j - 4] >> 6) << 4,
            q[j + 4] >> 4 | (q[j] >> 6) << 4,
        )
    };
    (f32::from(scale), f32::from(min))
}
