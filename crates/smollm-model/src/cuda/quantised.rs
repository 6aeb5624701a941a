//! GGUF's quantised blocks, parted so that a GPU can read them 16 bytes at a time.

use super::KernelError;

/// A weight `[n, k]` with its integers in one array and its scales in another, in GGUF's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parted {
    /// `Q8_0`: `[n, k]` int8. `Q4_1`: `[n, k / 2]`, the 16 bytes of each block.
    pub quants: Vec<u8>,
    /// `Q8_0`: `[n, k / 32]` f16. `Q4_1`: `[n, k / 32, 2]` f16, scale and minimum.
    pub scales: Vec<u8>,
}

/// Parts `Q8_0` blocks: f16 scale, 32 int8.
///
/// # Errors
/// If `data` is not whole blocks.
pub fn part_q8_0(data: &[u8]) -> Result<Parted, KernelError> {
    part(data, 2, 32)
}

/// Parts `Q4_1` blocks: f16 scale, f16 minimum, 16 bytes of two nibbles.
///
/// # Errors
/// If `data` is not whole blocks.
pub fn part_q4_1(data: &[u8]) -> Result<Parted, KernelError> {
    part(data, 4, 16)
}

fn part(data: &[u8], scale_bytes: usize, quant_bytes: usize) -> Result<Parted, KernelError> {
    let block = scale_bytes + quant_bytes;
    if !data.len().is_multiple_of(block) {
        return Err(KernelError::Arguments {
            kernel: "gemv",
            what: format!("{} bytes are no whole blocks of {block}", data.len()),
        });
    }
    let blocks = data.len() / block;
    let mut parted = Parted {
        quants: Vec::with_capacity(blocks * quant_bytes),
        scales: Vec::with_capacity(blocks * scale_bytes),
    };
    for block in data.chunks_exact(block) {
        let (scales, quants) = block.split_at(scale_bytes);
        parted.scales.extend_from_slice(scales);
        parted.quants.extend_from_slice(quants);
    }
    Ok(parted)
}
