//! SmolLM2 for inference: packed weights, any of several adapters, many sequences a pass.
//!
//! The differentiable [`crate::Llama`] is the reference; this is what answers questions. Weights are packed once at load
//! ([`cpu_gemm`]), q, k and v and gate and up are products of one input, keys and values are kept as the products want
//! them, and all threads walk through a pass together. Nothing is differentiable.
//!
//! With f32 weights everything is f32. With bf16 weights inputs of products are rounded to bf16. With quantised weights a
//! prompt's tokens meet them in bf16 and an answer's tokens in int8, both with f32 sums: which of the two is decided by
//! where a token comes from ([`Phase`]), never by how many there are.

mod adapter;
mod attention;
mod bytes;
mod cache;
mod pass;
mod scratch;
mod stacked;
mod team;
mod weights;

use std::borrow::Cow;
use std::sync::atomic::AtomicUsize;

use cpu_gemm::Arithmetic;

pub use cache::{KvType, PackedCache};
pub use weights::WeightFormat;

use crate::engine::check_segments;
use crate::ops::RopeTable;
use crate::{Checkpoint, Decoder, LowRank, ModelConfig, ModelError, Phase, Projection, Segment};
use adapter::PackedAdapter;
use attention::{F32_QUERY_ROWS, Piece, QUERY_ROWS};
use pass::{Own, Pass, Row, Sequence};
use scratch::{Extent, Scratch};
use team::Team;
use weights::Weights;

/// How a model is kept and run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PackedOptions {
    /// How weights are kept.
    pub format: WeightFormat,
    /// How keys and values are kept; by default as wide as the weights' arithmetic: f32 for f32 weights, else bf16.
    pub kv: Option<KvType>,
    /// Threads; by default as many as the machine has cores.
    pub threads: Option<usize>,
}

/// A model packed for inference.
///
/// ```
/// use smollm_model::{Checkpoint, GenerationConfig, ModelSource, PackedLlama, PackedOptions, generate};
///
/// # std::env::set_current_dir("../..")?;
/// let files = ModelSource::parse("fixtures/tiny-model")?.resolve()?;
/// let mut model = PackedLlama::load(&Checkpoint::open(&files)?, PackedOptions::default())?;
/// let config = GenerationConfig { max_new_tokens: 8, ..GenerationConfig::default() };
/// let answers = generate(&mut model, &[vec![1, 327, 201]], &config, &mut |_event| {
///     std::ops::ControlFlow::Continue(())
/// })?;
/// assert_eq!(answers.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PackedLlama {
    weights: Weights,
    kv: KvType,
    team: Team,
    scratch: Scratch,
}

impl PackedLlama {
    /// Packs a checkpoint.
    ///
    /// # Errors
    /// If a tensor cannot be read, weights cannot be packed as asked, or the system gives no threads.
    pub fn load(ck: &Checkpoint, options: PackedOptions) -> Result<Self, ModelError> {
        let weights = Weights::load(ck, options.format)?;
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = options.threads.unwrap_or_else(cores);
        let team = Team::new(threads).map_err(|source| ModelError::Threads { threads, source })?;
        let f32_only =
            weights.layers[0].qkv.operand_kind(Arithmetic::Integer) == cpu_gemm::OperandKind::F32;
        let kv = options
            .kv
            .unwrap_or(if f32_only { KvType::F32 } else { KvType::Bf16 });
        let mut scratch = Scratch::default();
        scratch.own.resize_with(team.count(), Own::default);
        Ok(Self {
            weights,
            kv,
            team,
            scratch,
        })
    }

    /// Adds an adapter, `scale · B A` beside the weights of some layers. Returns its number, which requests name. What a
    /// magnitude scales outputs by is computed here, from the weights as they are packed.
    ///
    /// # Errors
    /// If a layer does not exist or a shape does not fit.
    pub fn add_adapter(
        &mut self,
        updates: impl IntoIterator<Item = (usize, Projection, LowRank)>,
    ) -> Result<usize, ModelError> {
        let adapter = PackedAdapter::new(&self.weights, updates)?;
        self.weights.adapters.push(adapter);
        Ok(self.weights.adapters.len() - 1)
    }

    /// Takes all adapters out again, so that the next one is number 0.
    pub fn clear_adapters(&mut self) {
        self.weights.adapters.clear();
    }

    /// Threads that work together.
    pub fn threads(&self) -> usize {
        self.team.count()
    }

    /// Bytes of weights that decoding one token reads.
    pub fn bytes_per_token(&self) -> usize {
        self.weights.bytes_per_token()
    }

    /// FLOPs of one token's linear layers, output projection and attention aside: two for each weight.
    pub fn linear_flops_per_token(&self) -> usize {
        2 * self.weights.linear_parameters()
    }

    /// Runs the team over rows whose caches have room.
    fn run(&mut self, rows: &[Row], prompts: usize, sequences: &[Sequence], wanted: &[usize]) {
        let config = &self.weights.config;
        let positions: Vec<u32> = rows.iter().map(|row| row.position as u32).collect();
        let layers = 0..config.num_hidden_layers;
        let next_piece: Vec<AtomicUsize> = layers.map(|_| AtomicUsize::new(0)).collect();
        let tile = match self.kv {
            KvType::F32 => F32_QUERY_ROWS,
            KvType::Bf16 | KvType::Q8_0 => QUERY_ROWS,
        };
        let pieces = pieces(rows, sequences, config.num_key_value_heads, tile);
        let extent = Extent {
            rows: rows.len(),
            prompts,
            wanted: wanted.len(),
        };
        let buffers = self.scratch.buffers(&self.weights, extent);
        let pass = Pass {
            weights: &self.weights,
            rows,
            prompts,
            sequences,
            pieces: &pieces,
            next_piece: &next_piece,
            rope: RopeTable::new(&positions, config.head_dim, config.rope_theta),
            wanted,
            buffers,
        };
        self.team.run(&|worker| {
            // SAFETY: the buffers are as large as they must be, and borrowed mutably until the team is through.
            unsafe { pass.run(worker) }
        });
    }
}

/// Attention cut into pieces; long ones first, so that no thread is left with one at the end.
fn pieces(rows: &[Row], sequences: &[Sequence], kv_heads: usize, tile: usize) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (segment, sequence) in sequences.iter().enumerate() {
        let end = sequences
            .get(segment + 1)
            .map_or(rows.len(), |next| next.first_row);
        let count = end - sequence.first_row;
        for start in (0..count).step_by(tile) {
            let rows = start..(start + tile).min(count);
            pieces.extend((0..kv_heads).map(|kv_head| Piece {
                segment,
                kv_head,
                rows: rows.clone(),
            }));
        }
    }
    let keys = |piece: &Piece| sequences[piece.segment].first_position + piece.rows.end;
    pieces.sort_by_key(|piece| std::cmp::Reverse(keys(piece) * piece.rows.len()));
    pieces
}

impl Decoder for PackedLlama {
    type Cache = PackedCache;

    fn config(&self) -> &ModelConfig {
        &self.weights.config
    }

    fn adapters(&self) -> usize {
        self.weights.adapters.len()
    }

    fn copy_prefix(&self, from: &PackedCache, tokens: usize, to: &mut PackedCache) {
        *to = from.prefix(tokens, self.weights.shape());
    }

    fn pass(
        &mut self,
        segments: &mut [Segment<'_, PackedCache>],
    ) -> Result<Cow<'_, [f32]>, ModelError> {
        let adapters = self.weights.adapters.len();
        check_segments(
            segments,
            &self.weights.config,
            adapters,
            PackedCache::tokens,
        )?;
        let shape = self.weights.shape();
        let layers = self.weights.layers.len();
        // Where the arithmetic is the same, all rows meet the weights at once.
        let qkv = &self.weights.layers[0].qkv;
        let alike = qkv.operand_kind(Arithmetic::Float) == qkv.operand_kind(Arithmetic::Integer);
        let mut order: Vec<usize> = (0..segments.len()).collect();
        order.sort_by_key(|i| segments[*i].phase == Phase::Answer);
        let (mut rows, mut sequences) = (Vec::new(), Vec::with_capacity(segments.len()));
        let mut wanted = vec![None; segments.len()];
        let mut prompts = 0;
        for i in order {
            let segment = &mut segments[i];
            let cache = &mut *segment.cache;
            cache.reserve(layers, shape, self.kv, segment.ids.len());
            sequences.push(Sequence {
                first_row: rows.len(),
                first_position: cache.tokens,
                adapter: segment.adapter,
                cache: cache
                    .layers
                    .iter_mut()
                    .map(cache::LayerCache::pointers)
                    .collect(),
            });
            rows.extend(segment.ids.iter().enumerate().map(|(at, id)| Row {
                id: *id,
                segment: sequences.len() - 1,
                position: cache.tokens + at,
            }));
            wanted[i] = segment.logits.then(|| rows.len() - 1);
            if alike || segment.phase == Phase::Prompt {
                prompts = rows.len();
            }
        }
        let wanted: Vec<usize> = wanted.into_iter().flatten().collect();
        self.run(&rows, prompts, &sequences, &wanted);
        for segment in segments {
            segment.cache.tokens += segment.ids.len();
        }
        Ok(Cow::Borrowed(&self.scratch.logits))
    }
}
