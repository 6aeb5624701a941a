//! How weights may be stored, and where the bytes of a packed panel lie.

use std::fmt;

/// Outputs in a panel: one AVX-512 register of f32, one row of an AMX tile.
pub(crate) const LANES: usize = 16;

/// Inputs in a block: what one scale covers, and what one AMX tile of bf16 holds.
pub(crate) const BLOCK: usize = 32;

/// How the weights of a matrix are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types, reason = "ggml's own names")]
pub enum Format {
    /// 32-bit floats.
    F32,
    /// The upper halves of 32-bit floats.
    Bf16,
    /// Blocks of 32 signed bytes with an f16 scale.
    Q8_0,
    /// Blocks of 32 four-bit numbers minus 8 with an f16 scale.
    Q4_0,
    /// Blocks of 32 four-bit numbers with an f16 scale and an f16 minimum.
    Q4_1,
    /// Blocks of 32 five-bit numbers minus 16 with an f16 scale.
    Q5_0,
    /// Blocks of 32 five-bit numbers with an f16 scale and an f16 minimum.
    Q5_1,
    /// Super-blocks of 256: eight blocks of 32 four-bit numbers, each with a scale and a minimum.
    Q4_K,
    /// Super-blocks of 256: eight blocks of 32 five-bit numbers, each with a scale and a minimum.
    Q5_K,
    /// Super-blocks of 256: sixteen blocks of 16 six-bit numbers minus 32, each with a scale.
    Q6_K,
}

/// What the products are computed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arithmetic {
    /// Floats: f32, or bf16 with f32 sums where the CPU has instructions for it.
    Float,
    /// Bytes with exact 32-bit sums in each block of 32, for quantised formats; others ignore it.
    Integer,
}

/// What an [`Operand`](crate::Operand)'s rows are stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperandKind {
    /// 32-bit floats.
    F32,
    /// Rounded to bf16, to nearest even.
    Bf16,
    /// Blocks of 32 signed bytes with an f32 scale.
    Int8,
}

impl Format {
    /// All formats of small integers with scales.
    pub const QUANTISED: [Self; 8] = [
        Self::Q8_0,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q4_K,
        Self::Q5_K,
        Self::Q6_K,
    ];

    /// ggml's name in lower case, such as `q8_0`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
            Self::Q4_1 => "q4_1",
            Self::Q5_0 => "q5_0",
            Self::Q5_1 => "q5_1",
            Self::Q4_K => "q4_k",
            Self::Q5_K => "q5_k",
            Self::Q6_K => "q6_k",
        }
    }

    /// Whether weights are small integers with scales.
    pub fn is_quantised(self) -> bool {
        !matches!(self, Self::F32 | Self::Bf16)
    }

    /// Whether floats can be quantised to it here. Blocks of the others come from files.
    pub fn has_quantiser(self) -> bool {
        !matches!(self, Self::Q4_K | Self::Q5_K | Self::Q6_K)
    }

    /// Inputs in one of ggml's blocks: `k` must be a multiple of it.
    pub fn block_inputs(self) -> usize {
        match self {
            Self::F32 | Self::Bf16 => 1,
            Self::Q8_0 | Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 => BLOCK,
            Self::Q4_K | Self::Q5_K | Self::Q6_K => 256,
        }
    }

    /// Bytes of one of ggml's blocks.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
            Self::Q8_0 => 34,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q4_K => 144,
            Self::Q5_K => 176,
            Self::Q6_K => 210,
        }
    }

    /// Bytes of a row of `k` inputs in a GGUF file. `None` if they cannot be counted in a `usize`.
    pub(crate) fn row_bytes(self, k: usize) -> Option<usize> {
        (k / self.block_inputs()).checked_mul(self.block_bytes())
    }

    /// Bytes of a packed panel: 16 outputs, all `k` inputs.
    pub(crate) fn panel_bytes(self, k: usize) -> Option<usize> {
        match self {
            Self::F32 => k.checked_mul(4 * LANES),
            Self::Bf16 => k.checked_next_multiple_of(BLOCK)?.checked_mul(2 * LANES),
            _ => {
                let (layout, blocks) = (self.layout(), k / BLOCK);
                let heads = blocks.div_ceil(layout.group).checked_mul(layout.head)?;
                blocks.checked_mul(layout.levels)?.checked_add(heads)
            }
        }
    }

    /// Where a quantised panel keeps what. For the plain formats it means nothing.
    pub(crate) const fn layout(self) -> Layout {
        let (group, scales, bits) = match self {
            Self::F32 | Self::Bf16 | Self::Q8_0 => (2, Scales::Halves, 8),
            Self::Q4_0 => (2, Scales::Halves, 4),
            Self::Q4_1 => (1, Scales::HalvesAndMins, 4),
            Self::Q5_0 => (2, Scales::Halves, 5),
            Self::Q5_1 => (1, Scales::HalvesAndMins, 5),
            Self::Q4_K => (1, Scales::SinglesAndMins, 4),
            Self::Q5_K => (1, Scales::SinglesAndMins, 5),
            Self::Q6_K => (1, Scales::Products, 6),
        };
        Layout {
            group,
            head: if matches!(scales, Scales::SinglesAndMins) {
                128
            } else {
                64
            },
            levels: 64 * bits,
            bits,
            scales,
        }
    }

    /// What a stored level of zero weight is: levels are unsigned, weights need not be.
    pub(crate) const fn zero_level(self) -> u8 {
        match self {
            Self::Q8_0 => 128,
            Self::Q4_0 => 8,
            Self::Q5_0 => 16,
            Self::Q6_K => 32,
            _ => 0,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the head of a quantised block holds for each of 16 outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scales {
    /// A scale in f16.
    Halves,
    /// A scale and a minimum in f16.
    HalvesAndMins,
    /// A scale and a minimum in f32.
    SinglesAndMins,
    /// A scale in f16, and for either half of the block's inputs a signed byte to multiply it with.
    Products,
}

impl Scales {
    /// Whether there are minima.
    pub(crate) const fn mins(self) -> bool {
        matches!(self, Self::HalvesAndMins | Self::SinglesAndMins)
    }
}

/// Byte positions inside a quantised panel.
///
/// Blocks follow each other in groups of one or two: a head of 64 or 128 bytes with the scales
/// (and minima) of 16 outputs for each block, then the levels of each block. So every load of 64
/// bytes is aligned, and a panel is one stream of memory.
///
/// Levels are quads of inputs × 16 outputs. Those of eight bits are eight vectors of 64 bytes. Those
/// of fewer begin with four vectors of their lower four bits, of which quads 0 to 3 have the lower
/// halves of bytes; a fifth bit is in one vector, that of quad `q` in bit `q` of its bytes; fifth and
/// sixth bits are in two vectors, those of quad `q` at bit `2 (q % 4)` of vector `q / 4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Blocks that share a head.
    pub(crate) group: usize,
    /// Bytes of a head.
    pub(crate) head: usize,
    /// Bytes of the levels of one block: 16 outputs × 32 inputs.
    pub(crate) levels: usize,
    /// Bits of a level: 4, 5, 6 or 8.
    pub(crate) bits: usize,
    /// What the head holds.
    pub(crate) scales: Scales,
}

impl Layout {
    /// Start of the scales of block `b`; minima, or the factors of scales, follow after half a head.
    pub(crate) const fn scales(self, b: usize) -> usize {
        let within = b % self.group;
        (b / self.group) * (self.head + self.group * self.levels) + within * 32
    }

    /// Start of the levels of block `b`.
    pub(crate) const fn levels(self, b: usize) -> usize {
        let within = b % self.group;
        (b / self.group) * (self.head + self.group * self.levels) + self.head + within * self.levels
    }
}
