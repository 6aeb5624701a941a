//! Keys and values of one sequence, laid out for the products of attention.
//!
//! In bf16, 16 keys stand side by side (a block): for each pair of features, 16 × 2 values. That is what a product of
//! queries with keys wants of its right side, in vector registers and in matrix tiles alike. Values stand likewise, with
//! features side by side and pairs of tokens together. Bytes lie in the same order. In f32 both are plain rows.

use super::bytes::{Scales, level, scale_of};

/// Keys that stand side by side.
pub(super) const KEYS: usize = 16;

/// Tokens that a step of the second product takes; storage grows by this.
pub(super) const STEP: usize = 32;

/// Tokens that memory is taken for at a time.
const AHEAD: usize = 128;

/// bf16 values in one matrix tile: 16 pairs × 16 columns.
pub(super) const TILE: usize = 512;

/// How keys and values are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(non_camel_case_types, reason = "ggml's own name")]
pub enum KvType {
    /// 32 bits.
    F32,
    /// 16 bits, with f32's range: half the memory, and half the bytes that a token must read.
    #[default]
    Bf16,
    /// 8 bits, and a scale for each key and each value of a head: a quarter of f32's memory. Widened to bf16 where it is
    /// read.
    Q8_0,
}

/// Extents of a token's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) heads: usize,
    pub(super) dim: usize,
}

impl Shape {
    pub(super) fn width(self) -> usize {
        self.heads * self.dim
    }

    /// Tiles over the features of a key.
    pub(super) fn key_tiles(self) -> usize {
        self.dim.div_ceil(32)
    }

    /// Tiles over the features of a value.
    pub(super) fn value_tiles(self) -> usize {
        self.dim.div_ceil(16)
    }

    /// bf16 values from one block of keys to the next of the same head.
    pub(super) fn key_stride(self) -> usize {
        self.heads * self.key_tiles() * TILE
    }

    /// bf16 values from one step of values to the next of the same head.
    pub(super) fn value_stride(self) -> usize {
        self.heads * self.value_tiles() * TILE
    }
}

/// 64 bytes, aligned, so that no vector straddles two cache lines.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([u16; 32]);

const ZERO: Line = Line([0; 32]);

/// What [`crate::PackedLlama`] remembers of one sequence.
#[derive(Debug, Default)]
pub struct PackedCache {
    pub(super) layers: Vec<LayerCache>,
    pub(super) tokens: usize,
}

impl PackedCache {
    /// Tokens remembered.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Room for `more` tokens in each of `layers`.
    pub(super) fn reserve(&mut self, layers: usize, shape: Shape, kind: KvType, more: usize) {
        if self.layers.is_empty() {
            self.layers.resize_with(layers, || LayerCache::new(kind));
        }
        let tokens = self.tokens + more;
        for layer in &mut self.layers {
            layer.reserve(shape, tokens);
        }
    }

    /// The first `tokens` of it.
    pub(super) fn prefix(&self, tokens: usize, shape: Shape) -> Self {
        let layers = self.layers.iter().map(|layer| layer.prefix(shape, tokens));
        Self {
            layers: layers.collect(),
            tokens,
        }
    }
}

/// One layer's part.
#[derive(Debug)]
pub(super) enum LayerCache {
    /// `[tokens, heads · dim]` each.
    F32 { k: Vec<f32>, v: Vec<f32> },
    /// Keys `[block of 16][head][tile]`, values `[step of 32][head][tile]`.
    Bf16(Tiles),
    /// The same as bytes.
    Q8_0(Bytes),
}

#[derive(Debug, Default)]
pub(super) struct Tiles {
    k: Vec<Line>,
    v: Vec<Line>,
}

#[derive(Debug, Default)]
pub(super) struct Bytes {
    k: Vec<i8>,
    v: Vec<i8>,
    /// `[tokens, heads]`
    scales: Vec<Scales>,
}

impl LayerCache {
    fn new(kind: KvType) -> Self {
        match kind {
            KvType::F32 => Self::F32 {
                k: Vec::new(),
                v: Vec::new(),
            },
            KvType::Bf16 => Self::Bf16(Tiles::default()),
            KvType::Q8_0 => Self::Q8_0(Bytes::default()),
        }
    }

    fn reserve(&mut self, shape: Shape, tokens: usize) {
        let ahead = tokens.next_multiple_of(AHEAD);
        match self {
            Self::F32 { k, v } => {
                let floats = |tokens: usize| tokens * shape.width();
                grow(k, floats(tokens), floats(ahead), 0.0);
                grow(v, floats(tokens), floats(ahead), 0.0);
            }
            Self::Bf16(tiles) => {
                let (keys, values) = lines(shape, tokens);
                let (keys_ahead, values_ahead) = lines(shape, ahead);
                grow(&mut tiles.k, keys, keys_ahead, ZERO);
                grow(&mut tiles.v, values, values_ahead, ZERO);
            }
            Self::Q8_0(bytes) => {
                let (keys, values) = lines(shape, tokens);
                let (keys_ahead, values_ahead) = lines(shape, ahead);
                grow(&mut bytes.k, 32 * keys, 32 * keys_ahead, 0);
                grow(&mut bytes.v, 32 * values, 32 * values_ahead, 0);
                let scales = |tokens: usize| tokens.next_multiple_of(STEP) * shape.heads;
                let none = Scales::default();
                grow(&mut bytes.scales, scales(tokens), scales(ahead), none);
            }
        }
    }

    fn prefix(&self, shape: Shape, tokens: usize) -> Self {
        let (keys, values) = lines(shape, tokens);
        let mut copy = match self {
            Self::F32 { k, v } => {
                return Self::F32 {
                    k: k[..tokens * shape.width()].to_vec(),
                    v: v[..tokens * shape.width()].to_vec(),
                };
            }
            Self::Bf16(tiles) => Self::Bf16(Tiles {
                k: tiles.k[..keys].to_vec(),
                v: tiles.v[..values].to_vec(),
            }),
            Self::Q8_0(bytes) => Self::Q8_0(Bytes {
                k: bytes.k[..32 * keys].to_vec(),
                v: bytes.v[..32 * values].to_vec(),
                scales: bytes.scales[..tokens.next_multiple_of(STEP) * shape.heads].to_vec(),
            }),
        };
        // A product reads to the end of a step, and must find nothing there.
        let (at, zeros) = (copy.pointers(), vec![0.0; shape.width()]);
        for token in tokens..tokens.next_multiple_of(STEP) {
            // SAFETY: the storage reaches to the end of the token's step and belongs to this function.
            unsafe { at.write(shape, token, &zeros, &zeros) };
        }
        copy
    }

    /// For threads that write and read different tokens.
    pub(super) fn pointers(&mut self) -> LayerPointers {
        match self {
            Self::F32 { k, v } => LayerPointers::F32 {
                k: k.as_mut_ptr(),
                v: v.as_mut_ptr(),
            },
            Self::Bf16(tiles) => LayerPointers::Bf16 {
                k: tiles.k.as_mut_ptr().cast(),
                v: tiles.v.as_mut_ptr().cast(),
            },
            Self::Q8_0(bytes) => LayerPointers::Q8_0 {
                k: bytes.k.as_mut_ptr(),
                v: bytes.v.as_mut_ptr(),
                scales: bytes.scales.as_mut_ptr(),
            },
        }
    }
}

/// `len` elements, with memory for `ahead`: a vector left alone would take twice what it needs.
fn grow<T: Copy>(buffer: &mut Vec<T>, len: usize, ahead: usize, fill: T) {
    if buffer.capacity() < len {
        buffer.reserve_exact(ahead - buffer.len());
    }
    buffer.resize(len, fill);
}

/// Cache lines that the keys and the values of `tokens` tokens take, in whole steps.
fn lines(shape: Shape, tokens: usize) -> (usize, usize) {
    let steps = tokens.div_ceil(STEP);
    let blocks = steps * (STEP / KEYS);
    (
        blocks * shape.key_stride() / 32,
        steps * shape.value_stride() / 32,
    )
}

/// Raw access to a layer's keys and values.
#[derive(Clone, Copy, Debug)]
pub(super) enum LayerPointers {
    /// Rows.
    F32 { k: *mut f32, v: *mut f32 },
    /// Tiles.
    Bf16 { k: *mut u16, v: *mut u16 },
    /// The same in bytes, and scales `[tokens, heads]`.
    Q8_0 {
        k: *mut i8,
        v: *mut i8,
        scales: *mut Scales,
    },
}

// SAFETY: pointers; each use states who may touch what.
unsafe impl Send for LayerPointers {}
// SAFETY: as above.
unsafe impl Sync for LayerPointers {}

impl LayerPointers {
    /// Writes the keys and values `[heads · dim]` of one token.
    ///
    /// # Safety
    /// The cache has room for `token`, and no other thread touches that token meanwhile.
    pub(super) unsafe fn write(self, shape: Shape, token: usize, key: &[f32], value: &[f32]) {
        match self {
            Self::F32 { k, v } => {
                let at = token * shape.width();
                // SAFETY: the caller's promise; a token's row is its own.
                unsafe {
                    k.add(at).copy_from_nonoverlapping(key.as_ptr(), key.len());
                    v.add(at)
                        .copy_from_nonoverlapping(value.as_ptr(), value.len());
                }
            }
            Self::Bf16 { k, v } => {
                let cell = |x: f32| half::bf16::from_f32(x).to_bits();
                for (head, (key, value)) in heads(shape, key, value) {
                    // SAFETY: the caller's promise; each of these 2-byte cells belongs to this token alone.
                    unsafe {
                        write_key(k, shape, (token, head), key, cell);
                        write_value(v, shape, (token, head), value, cell);
                    }
                }
            }
            Self::Q8_0 { k, v, scales } => {
                for (head, (key, value)) in heads(shape, key, value) {
                    let of = Scales {
                        key: scale_of(key),
                        value: scale_of(value),
                    };
                    // SAFETY: the caller's promise; each of these cells and scales belongs to this token alone.
                    unsafe {
                        write_key(k, shape, (token, head), key, |x| level(x, of.key));
                        write_value(v, shape, (token, head), value, |x| level(x, of.value));
                        *scales.add(token * shape.heads + head) = of;
                    }
                }
            }
        }
    }
}

/// A token's keys and values, head by head.
fn heads<'a>(
    shape: Shape,
    key: &'a [f32],
    value: &'a [f32],
) -> impl Iterator<Item = (usize, (&'a [f32], &'a [f32]))> {
    let keys = key.chunks_exact(shape.dim);
    keys.zip(value.chunks_exact(shape.dim)).enumerate()
}

/// Feature `j` of key `t`: block `t / 16`, tile `j / 32`, pair `j / 2`, column `t % 16`.
unsafe fn write_key<T>(
    tiles: *mut T,
    shape: Shape,
    (t, head): (usize, usize),
    key: &[f32],
    kept: impl Fn(f32) -> T,
) {
    let start = t / KEYS * shape.key_stride() + head * shape.key_tiles() * TILE + t % KEYS * 2;
    for (j, x) in key.iter().enumerate() {
        let cell = start + j / 32 * TILE + j % 32 / 2 * 32 + j % 2;
        // SAFETY: `j / 32 < key_tiles`, so the cell lies inside the head's tiles.
        unsafe { *tiles.add(cell) = kept(*x) };
    }
}

/// Feature `j` of value `t`: step `t / 32`, tile `j / 16`, pair `t / 2`, column `j % 16`.
unsafe fn write_value<T>(
    tiles: *mut T,
    shape: Shape,
    (t, head): (usize, usize),
    value: &[f32],
    kept: impl Fn(f32) -> T,
) {
    let start = t / STEP * shape.value_stride() + head * shape.value_tiles() * TILE;
    for (j, x) in value.iter().enumerate() {
        let cell = start + j / 16 * TILE + t % STEP / 2 * 32 + j % 16 * 2 + t % 2;
        // SAFETY: `j / 16 < value_tiles`, so the cell lies inside the head's tiles.
        unsafe { *tiles.add(cell) = kept(*x) };
    }
}
