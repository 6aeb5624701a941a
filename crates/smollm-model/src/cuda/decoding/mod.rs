//! Continuing sequences on a device: the passes of [`crate::PackedLlama`] with this crate's kernels.
//!
//! Keys and values lie in pages of 64 tokens, which sequences that begin alike share ([`pages`]). Prompts' tokens meet the
//! weights in products of tiles, an answer's in products of a few rows; attention takes every token over its cache, one
//! by one. Each of these has an order of summation that depends on the token's own sequence and on the weights, so a
//! row's result is the same alone, in any batch, and however its prompt is cut.

mod adapters;
mod buffers;
mod cache;
mod pages;
mod pass;

use std::borrow::Cow;
use std::fmt;

use super::weights::Weights;
use super::{Element, Machine, Memory, check_model, rope_table};
use crate::engine::check_segments;
use crate::{Checkpoint, Decoder, LowRank, ModelConfig, ModelError, Phase, Projection, Segment};
use adapters::DeviceAdapter;
use buffers::Buffers;
use cache::Cache;
pub use pages::DeviceCache;
use pass::{Batch, Pass, Share};

/// A model on a device, for inference.
///
/// An [`crate::Engine`] over it answers requests; sampling is on the host.
pub struct DeviceLlama<'m> {
    machine: &'m dyn Machine,
    config: ModelConfig,
    element: Element,
    weights: Weights<'m>,
    /// Cosines and sines of all positions.
    rope: Memory<'m>,
    adapters: Vec<DeviceAdapter<'m>>,
    cache: Cache<'m>,
    buffers: Buffers<'m>,
    logits: Vec<f32>,
}

impl<'m> DeviceLlama<'m> {
    /// Copies a checkpoint's weights to `machine`.
    ///
    /// # Errors
    /// If the kernels do not fit the model (heads of other than 64 features), a tensor cannot be read, or the device has not
    /// enough memory.
    pub fn load(
        machine: &'m dyn Machine,
        ck: &Checkpoint,
        element: Element,
    ) -> Result<Self, ModelError> {
        let config = ck.config().clone();
        check_model(&config, element)?;
        let positions = config.max_position_embeddings as u32;
        let table = rope_table(positions, config.head_dim, config.rope_theta);
        Ok(Self {
            machine,
            element,
            weights: Weights::load(machine, ck, element)?,
            rope: Memory::of(machine, &Element::F32.encode(&table))?,
            adapters: Vec::new(),
            cache: Cache::new(machine, &config, element),
            buffers: Buffers::new(machine),
            logits: Vec::new(),
            config,
        })
    }

    /// Adds an adapter, `scale · B A` beside the weights of some layers. Returns its number, which requests name.
    ///
    /// # Errors
    /// If a layer does not exist, a shape does not fit, an update has a magnitude (DoRA: merge it first), or the device has
    /// not enough memory.
    pub fn add_adapter(
        &mut self,
        updates: impl IntoIterator<Item = (usize, Projection, LowRank)>,
    ) -> Result<usize, ModelError> {
        let adapter = DeviceAdapter::new(self.machine, &self.config, updates)?;
        self.adapters.push(adapter);
        Ok(self.adapters.len() - 1)
    }

    /// Takes all adapters out again, so that the next one is number 0.
    pub fn clear_adapters(&mut self) {
        self.adapters.clear();
    }

    /// Bytes that are held on the device now.
    pub fn held(&self) -> usize {
        let adapters: usize = self.adapters.iter().map(DeviceAdapter::bytes).sum();
        let weights = Weights::bytes(&self.config, self.element) + self.rope.bytes();
        weights + adapters + self.cache.bytes() + self.buffers.bytes()
    }

    /// Bytes of weights that decoding one token reads.
    pub fn bytes_per_token(&self) -> usize {
        let head = self.config.vocab_size * self.config.hidden_size;
        (self.linear_flops_per_token() / 2 + head) * self.element.bytes()
    }

    /// FLOPs of one token's linear layers, output projection and attention aside: two for each weight.
    pub fn linear_flops_per_token(&self) -> usize {
        let of = |projection: Projection| {
            let (out, inputs) = projection.dims(&self.config);
            out * inputs
        };
        let block: usize = Projection::ALL.into_iter().map(of).sum();
        2 * self.config.num_hidden_layers * block
    }

    /// Whether every segment can be computed.
    fn check(&self, segments: &[Segment<'_, DeviceCache>]) -> Result<(), ModelError> {
        let adapters = self.adapters.len();
        check_segments(segments, &self.config, adapters, DeviceCache::tokens)?;
        if segments
            .iter()
            .all(|segment| self.cache.knows(segment.cache))
        {
            return Ok(());
        }
        Err(ModelError::Argument {
            what: "a sequence's cache",
            found: "another model's".into(),
            expected: "one that this model has read, or an empty one".into(),
        })
    }

    /// The rows of a pass, prompts' first, those of one adapter together; makes room in the caches.
    fn batch(&mut self, segments: &mut [Segment<'_, DeviceCache>]) -> Result<Batch, ModelError> {
        let mut order: Vec<usize> = (0..segments.len()).collect();
        order.sort_by_key(|i| (segments[*i].phase == Phase::Answer, segments[*i].adapter));
        let mut batch = Batch::default();
        let mut wanted = vec![None; segments.len()];
        for i in order {
            let segment = &mut segments[i];
            self.cache.reserve(segment.cache, segment.ids.len())?;
            let first = segment.cache.tokens() as u32;
            let (slot, start) = (batch.tables.len() as u32, batch.ids.len());
            batch.ids.extend(segment.ids);
            batch
                .positions
                .extend(first..first + segment.ids.len() as u32);
            batch.slots.extend(segment.ids.iter().map(|_| slot));
            batch.tables.push(segment.cache.numbers().collect());
            let end = batch.ids.len();
            wanted[i] = segment.logits.then(|| end as u32 - 1);
            if segment.phase == Phase::Prompt {
                batch.prompts = end;
            }
            match batch.shares.last_mut() {
                Some(share) if share.adapter == segment.adapter => share.rows.end = end,
                _ => batch.shares.push(Share {
                    adapter: segment.adapter,
                    rows: start..end,
                }),
            }
        }
        batch.wanted = wanted.into_iter().flatten().collect();
        Ok(batch)
    }
}

impl Decoder for DeviceLlama<'_> {
    type Cache = DeviceCache;

    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn adapters(&self) -> usize {
        self.adapters.len()
    }

    fn copy_prefix(&self, from: &DeviceCache, tokens: usize, to: &mut DeviceCache) {
        *to = from.prefix(tokens);
    }

    fn pass(
        &mut self,
        segments: &mut [Segment<'_, DeviceCache>],
    ) -> Result<Cow<'_, [f32]>, ModelError> {
        self.check(segments)?;
        if segments.is_empty() {
            return Ok(Cow::default());
        }
        let batch = self.batch(segments)?;
        let rows = batch.wanted.len();
        let placed = self.buffers.copy(&batch)?;
        let pass = Pass {
            machine: self.machine,
            config: &self.config,
            element: self.element,
            weights: &self.weights,
            rope: self.rope.address(),
            adapters: &self.adapters,
            cache: &self.cache,
            batch: &batch,
            placed,
        };
        self.buffers.run(&pass)?;
        self.logits.clear();
        if rows > 0 {
            self.buffers.read_logits(&pass, rows, &mut self.logits)?;
        }
        for segment in segments {
            segment.cache.added(segment.ids.len());
        }
        Ok(Cow::Borrowed(&self.logits))
    }
}

impl fmt::Debug for DeviceLlama<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceLlama")
            .field("machine", &self.machine.name())
            .field("element", &self.element)
            .field("adapters", &self.adapters.len())
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
