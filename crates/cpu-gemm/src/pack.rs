//! Rows of ggml's blocks to panels of 16 outputs.

use half::f16;
use rayon::prelude::*;

use crate::format::{BLOCK, Format, LANES, Layout};
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
        Format::Q5_0 => five_bit_blocks(format, row, output, panel, 2),
        Format::Q5_1 => five_bit_blocks(format, row, output, panel, 4),
        Format::Q4_K | Format::Q5_K => super_blocks(format, row, output, panel),
        Format::Q6_K => six_bit_blocks(format, row, output, panel),
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
        put_halves(layout, b, scales, output, panel);
        let to = &mut panel[layout.levels(b)..][..layout.levels];
        words(levels, output, to, |w| w ^ flip);
    }
}

/// The scale of block `b`, and its minimum if there is one.
fn put_halves(layout: Layout, b: usize, halves: &[u8], output: usize, panel: &mut [u8]) {
    for (i, half) in halves.as_chunks::<2>().0.iter().enumerate() {
        let at = layout.scales(b) + i * layout.head / 2 + output * 2;
        panel[at..at + 2].copy_from_slice(half);
    }
}

/// The levels of block `b`, of 5 or 6 bits or fewer: see [`Layout`].
fn put_levels(layout: Layout, b: usize, levels: [u8; BLOCK], output: usize, panel: &mut [u8]) {
    const HALF: usize = BLOCK / 2;
    let to = &mut panel[layout.levels(b)..][..layout.levels];
    let (nibbles, upper) = to.split_at_mut(HALF * LANES);
    let pairs: [u8; HALF] = std::array::from_fn(|i| levels[i] & 15 | (levels[i + HALF] & 15) << 4);
    words(&pairs, output, nibbles, |w| w);
    // Each byte of a vector has bits of the quads that share it.
    let width = layout.bits - 4;
    let vectors = upper.as_chunks_mut::<{ 4 * LANES }>().0;
    for (i, level) in levels.into_iter().enumerate() {
        let at = i / 4 * width;
        if let Some(vector) = vectors.get_mut(at / 8) {
            vector[output * 4 + i % 4] |= level >> 4 << (at % 8);
        }
    }
}

/// Blocks of 32 with four bytes of fifth bits behind the scale and the minimum.
fn five_bit_blocks(format: Format, row: &[u8], output: usize, panel: &mut [u8], head: usize) {
    let layout = format.layout();
    for (b, block) in row.chunks_exact(format.block_bytes()).enumerate() {
        let (scales, rest) = block.split_at(head);
        put_halves(layout, b, scales, output, panel);
        let (fifths, nibbles) = rest.split_at(BLOCK / 8);
        let level = |i: usize| {
            let nibble = nibbles[i % 16] >> (i / 16 * 4) & 15;
            nibble | (fifths[i / 8] >> (i % 8) & 1) << 4
        };
        put_levels(layout, b, std::array::from_fn(level), output, panel);
    }
}

/// `Q4_K` and `Q5_K`: eight blocks of 32 with six-bit scales and minima of their own.
fn super_blocks(format: Format, row: &[u8], output: usize, panel: &mut [u8]) {
    let layout = format.layout();
    for (s, block) in row.chunks_exact(format.block_bytes()).enumerate() {
        let half = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]).to_f32();
        let (d, dmin) = (half(0), half(2));
        // The fifth bits of block `j` are at bit `j` of 32 bytes, which `Q4_K` does not have.
        let (fifths, nibbles) = block[16..].split_at(block.len() - 16 - 128);
        for j in 0..8 {
            let b = s * 8 + j;
            let (scale, min) = scale_and_min(&block[4..16], j);
            let at = layout.scales(b) + output * 4;
            panel[at..at + 4].copy_from_slice(&(d * scale).to_le_bytes());
            panel[at + 64..at + 68].copy_from_slice(&(-(dmin * min)).to_le_bytes());
            // Sixty-four elements share 32 bytes: the even block has the lower halves.
            let bytes = &nibbles[j / 2 * BLOCK..][..BLOCK];
            let level = |i: usize| {
                let fifth = fifths.get(i).map_or(0, |bits| bits >> j & 1);
                bytes[i] >> (4 * (j % 2)) & 15 | fifth << 4
            };
            put_levels(layout, b, std::array::from_fn(level), output, panel);
        }
    }
}

/// `Q6_K`: sixteen blocks of 16 whose scales are a signed byte times one f16. Two of them are a block here, and the
/// product is made when they are used: as f32 they would be a bit a weight more to read.
fn six_bit_blocks(format: Format, row: &[u8], output: usize, panel: &mut [u8]) {
    let layout = format.layout();
    for (s, block) in row.chunks_exact(format.block_bytes()).enumerate() {
        let (nibbles, rest) = block.split_at(128);
        let (pairs, rest) = rest.split_at(64);
        let (factors, scale) = rest.split_at(16);
        for j in 0..8 {
            let b = s * 8 + j;
            put_halves(layout, b, scale, output, panel);
            for half in 0..2 {
                let at = layout.scales(b) + layout.head / 2 + half * LANES + output;
                panel[at] = factors[2 * j + half];
            }
            // Of 128 elements, blocks 0 and 2 share 32 bytes of nibbles, 1 and 3 the next, and all four 32 bytes of pairs.
            let (part, j) = (j / 4, j % 4);
            let level = |i: usize| {
                let nibble = nibbles[part * 64 + j % 2 * BLOCK + i] >> (j / 2 * 4) & 15;
                nibble | (pairs[part * BLOCK + i] >> (2 * j) & 3) << 4
            };
            put_levels(layout, b, std::array::from_fn(level), output, panel);
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
