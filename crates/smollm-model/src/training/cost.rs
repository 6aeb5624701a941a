//! What training takes, from sizes alone: memory and arithmetic, before a weight is read.

use candle_core::DType;
use cpu_gemm::{Arithmetic, Format, OperandKind, PackedMatrix};

use super::loss::CHUNK;
use super::{Checkpointing, TrainingOptions};
use crate::{ModelConfig, Projection, Site};

/// Bytes of an f32.
const F32: usize = size_of::<f32>();

/// Copies of an adapter's numbers that live at once beside it: the two moments, its matrices as the products want them,
/// gradients of a micro-batch, and their sums with and without clipping.
const ADAPTER_COPIES: usize = 9;

/// A place of an adapter, without its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteShape {
    /// Where it is.
    pub site: Site,
    /// Rows of `A` and columns of `B`.
    pub rank: usize,
    /// Whether inputs of the adapter are dropped in training.
    pub dropout: bool,
    /// Whether a magnitude scales its outputs (DoRA).
    pub magnitude: bool,
}

/// A batch, without its tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchShape {
    /// Tokens that go through the model.
    pub tokens: usize,
    /// Of them, those that predict a token that counts in the loss.
    pub supervised: usize,
    /// Pairs of a query and a key that it sees.
    pub attended: usize,
}

/// Bytes that training keeps at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainingMemory {
    /// Weights, packed.
    pub weights: usize,
    /// What a batch leaves behind for its backward pass, and the buffers of one block.
    pub activations: usize,
    /// Logits of one chunk of supervised tokens, as they are and as the backward product wants them.
    pub logits: usize,
    /// The adapter with gradients and the optimiser's moments.
    pub adapter: usize,
}

impl TrainingMemory {
    /// All of it.
    pub fn total(&self) -> usize {
        self.weights + self.activations + self.logits + self.adapter
    }
}

/// Sizes of a model and an adapter, and what training them takes.
///
/// ```
/// use smollm_model::{BatchShape, Checkpoint, ModelSource, Projection, Site, SiteShape, TrainingCost, TrainingOptions};
///
/// # std::env::set_current_dir("../..")?;
/// let checkpoint = Checkpoint::open(&ModelSource::parse("fixtures/tiny-model")?.resolve()?)?;
/// let sites = [SiteShape { site: Site::new(0, Projection::V), rank: 2, dropout: false, magnitude: false }];
/// let cost = TrainingCost::new(checkpoint.config(), TrainingOptions::default(), &sites);
/// let batch = BatchShape { tokens: 200, supervised: 50, attended: 20_100 };
/// assert!(cost.memory(batch).total() > cost.memory(BatchShape::default()).total());
/// assert!(cost.gradient_flops(batch) > cost.loss_flops(batch));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TrainingCost<'a> {
    config: &'a ModelConfig,
    sites: &'a [SiteShape],
    checkpointing: Checkpointing,
    /// Bytes of all packed weights.
    weights: usize,
    /// Bytes of an input of a product with frozen weights.
    input: usize,
}

impl<'a> TrainingCost<'a> {
    /// For a model and an adapter on this machine.
    pub fn new(config: &'a ModelConfig, options: TrainingOptions, sites: &'a [SiteShape]) -> Self {
        let (weight, format) = match options.dtype {
            DType::BF16 => (2, Format::Bf16),
            _ => (4, Format::F32),
        };
        // Whether this CPU multiplies bf16 shows in a matrix of one weight.
        let one = PackedMatrix::from_f32(&[0.0], 1, 1, format);
        let kind = one.map(|matrix| matrix.operand_kind(Arithmetic::Float));
        let input = if matches!(kind, Ok(OperandKind::Bf16)) {
            2
        } else {
            4
        };
        Self {
            config,
            sites,
            checkpointing: options.checkpointing,
            weights: weight * (frozen_parameters(config) + embedding_apart(config)),
            input,
        }
    }

    /// With so many bytes of packed weights, where not all are of the options' `dtype`: [`super::TrainingLlama::weight_bytes`].
    #[must_use]
    pub fn with_weight_bytes(self, weights: usize) -> Self {
        Self { weights, ..self }
    }

    /// Bytes that a batch takes. It is what buffers of the training passes hold; the program around them, the rows and
    /// the model's file are not in it.
    pub fn memory(&self, batch: BatchShape) -> TrainingMemory {
        let layers = self.config.num_hidden_layers;
        let kept = match self.checkpointing {
            Checkpointing::None if self.first_walked().is_some_and(|first| first < layers) => {
                layers
            }
            _ => 1,
        };
        let stream = (layers + 2) * self.config.hidden_size * F32;
        let each = stream + self.kept_per_token(kept) + self.scratch_per_token();
        TrainingMemory {
            weights: self.weights,
            activations: batch.tokens * each,
            logits: self.logits(batch.supervised.min(CHUNK)),
            adapter: (1 + ADAPTER_COPIES) * self.adapter_parameters() * F32 + self.row_squares(),
        }
    }

    /// Floating-point operations of a batch's loss and gradients: a multiplication and an addition are two.
    ///
    /// Frozen weights are met twice (`Y` and `dX`; they have no gradient of their own), the head only by supervised
    /// tokens. An adapter has six products (that of the embedding, where `A` is looked up, three), attention two forward and
    /// five backward. The walk back ends with the block of the lowest adapter, which counts as a whole; below an adapter of
    /// the head alone there is none. With [`Checkpointing::Block`] the blocks that are walked through are run forward twice.
    /// Norms, activations, softmax and what magnitudes scale are not counted.
    pub fn gradient_flops(&self, batch: BatchShape) -> f64 {
        let Some(first) = self.first_walked() else {
            return self.loss_flops(batch);
        };
        let layers = self.config.num_hidden_layers;
        let walked = layers.saturating_sub(first) as f64 / layers.max(1) as f64;
        let frozen = |products: f64| {
            let linear = 2.0 * batch.tokens as f64 * block_parameters(self.config) as f64;
            walked * (linear + 2.0 * products * self.attention(batch))
        };
        let in_blocks = self.adapter_flops(batch, |site| site.layer().is_some());
        let forward_again = match self.checkpointing {
            Checkpointing::None => 0.0,
            Checkpointing::Block => frozen(2.0) + in_blocks,
        };
        let adapters = self.adapter_flops(batch, |_| true);
        let head = if first < layers {
            self.head_flops(batch)
        } else {
            0.0
        };
        self.loss_flops(batch) + forward_again + frozen(5.0) + 2.0 * adapters + head
    }

    /// The first block that is walked back through; the number of blocks where none is.
    fn first_walked(&self) -> Option<usize> {
        let first = |site: &SiteShape| match site.site {
            Site::Embedding => 0,
            Site::Block { layer, .. } => layer,
            Site::Head => self.config.num_hidden_layers,
        };
        self.sites.iter().map(first).min()
    }

    /// Floating-point operations of a batch's loss alone.
    pub fn loss_flops(&self, batch: BatchShape) -> f64 {
        let blocks = 2.0 * batch.tokens as f64 * block_parameters(self.config) as f64;
        let adapters = self.adapter_flops(batch, |_| true);
        blocks + adapters + 4.0 * self.attention(batch) + self.head_flops(batch)
    }

    /// One pass through the adapters of some sites.
    fn adapter_flops(&self, batch: BatchShape, of: impl Fn(Site) -> bool) -> f64 {
        let of_site = |site: &SiteShape| {
            let (out, inputs) = site.site.dims(self.config);
            let (rows, products) = match site.site {
                // A's columns are looked up.
                Site::Embedding => (batch.tokens, out),
                Site::Block { .. } => (batch.tokens, out + inputs),
                Site::Head => (batch.supervised, out + inputs),
            };
            2.0 * rows as f64 * (site.rank * products) as f64
        };
        let sites = self.sites.iter().filter(|site| of(site.site));
        sites.map(of_site).sum()
    }

    fn head_flops(&self, batch: BatchShape) -> f64 {
        2.0 * batch.supervised as f64 * head_parameters(self.config) as f64
    }

    /// Multiplications of one product over queries and keys, in all layers.
    fn attention(&self, batch: BatchShape) -> f64 {
        let width = self.config.query_width() * self.config.num_hidden_layers;
        batch.attended as f64 * width as f64
    }

    /// Numbers in `A` and `B`.
    fn factors(&self) -> usize {
        let of_site = |site: &SiteShape| {
            let (out, inputs) = site.site.dims(self.config);
            site.rank * (out + inputs)
        };
        self.sites.iter().map(of_site).sum()
    }

    /// Numbers in magnitudes.
    fn magnitudes(&self) -> usize {
        let with = self.sites.iter().filter(|site| site.magnitude);
        with.map(|site| site.site.dims(self.config).0).sum()
    }

    fn adapter_parameters(&self) -> usize {
        self.factors() + self.magnitudes()
    }

    /// Bytes of the squared norms of weights beside which there is a magnitude (`weights::Place`).
    fn row_squares(&self) -> usize {
        self.magnitudes() * size_of::<f64>()
    }

    /// Bytes that `kept` blocks keep of a token (`forward::Saved`).
    fn kept_per_token(&self, kept: usize) -> usize {
        let (query, ffn) = (self.config.query_width(), self.config.intermediate_size);
        let qkv = query + 2 * self.config.key_value_width();
        let heads = self.config.num_attention_heads;
        let block = (qkv + query + heads + self.config.hidden_size) * F32 + 2 * ffn * self.input;
        // An adapter keeps which inputs were dropped, a byte for each, `U`, and what its magnitude scales.
        let of_site = |site: &SiteShape| {
            let (out, inputs) = site.site.dims(self.config);
            let unscaled = if site.magnitude { out * F32 } else { 0 };
            site.rank * F32 + unscaled + if site.dropout { inputs } else { 0 }
        };
        let mut of_layer = vec![0; self.config.num_hidden_layers];
        for site in self.sites {
            let layer = site.site.layer();
            if let Some(sum) = layer.and_then(|layer| of_layer.get_mut(layer)) {
                *sum += of_site(site);
            }
        }
        of_layer.sort_unstable_by_key(|bytes| std::cmp::Reverse(*bytes));
        kept * block + of_layer.iter().take(kept).sum::<usize>()
    }

    /// Bytes of a token in buffers that all blocks share (`forward::Scratch`, `backward::Scratch`, attention's parts).
    fn scratch_per_token(&self) -> usize {
        let (hidden, ffn) = (self.config.hidden_size, self.config.intermediate_size);
        let query = self.config.query_width();
        let qkv = query + 2 * self.config.key_value_width();
        let rounded = self.input != F32;
        let forward = (hidden + ffn) * F32 + ffn * self.input + self.gate_up_apart(rounded);
        let backward =
            (hidden + ffn + 2 * ffn + query + qkv) * F32 + 2 * ffn * self.input + 2 * query * F32;
        let of = |only: &dyn Fn(&SiteShape, Projection) -> bool| {
            let inputs = self.sites.iter().filter_map(|site| match site.site {
                Site::Block { projection, .. } if only(site, projection) => {
                    Some(projection.dims(self.config).1)
                }
                _ => None,
            });
            inputs.max().unwrap_or(0) * F32
        };
        // Inputs formed again (O's are kept), and inputs with what is dropped.
        let formed = of(&|_, projection| projection != Projection::O);
        forward + backward + formed + 2 * of(&|site, _| site.dropout) + self.unscaled_stream()
    }

    /// A gradient of the residual stream's size, where a magnitude scales what is added to the stream.
    fn unscaled_stream(&self) -> usize {
        let to_stream = |site: Site| match site {
            Site::Block { projection, .. } => {
                matches!(projection, Projection::O | Projection::Down)
            }
            Site::Embedding | Site::Head => false,
        };
        let mut sites = self.sites.iter();
        if sites.any(|site| site.magnitude && to_stream(site.site)) {
            self.config.hidden_size * F32
        } else {
            0
        }
    }

    /// Where gate and up are kept rounded, they are first formed in f32.
    fn gate_up_apart(&self, rounded: bool) -> usize {
        if rounded {
            2 * self.config.intermediate_size * F32
        } else {
            0
        }
    }

    /// Bytes of a chunk of the loss (`loss::LossScratch`): logits, rows of the stream, and what an adapter of the head keeps
    /// of them (inputs that are dropped, `U`, logits before a magnitude scales them).
    fn logits(&self, rows: usize) -> usize {
        let (hidden, vocab) = (self.config.hidden_size, self.config.vocab_size);
        let plain = vocab * (F32 + self.input) + hidden * (6 * F32 + self.input);
        let head = self.sites.iter().find(|site| site.site == Site::Head);
        let adapter = head.map_or(0, |site| {
            let dropped = if site.dropout { hidden * (1 + F32) } else { 0 };
            let unscaled = if site.magnitude { vocab * F32 } else { 0 };
            2 * site.rank * F32 + dropped + unscaled
        });
        rows * (plain + adapter)
    }
}

fn block_parameters(config: &ModelConfig) -> usize {
    let of_block = Projection::ALL.map(|projection| {
        let (out, inputs) = projection.dims(config);
        out * inputs
    });
    config.num_hidden_layers * of_block.iter().sum::<usize>()
}

fn head_parameters(config: &ModelConfig) -> usize {
    config.vocab_size * config.hidden_size
}

/// Weights that are multiplied with.
fn frozen_parameters(config: &ModelConfig) -> usize {
    block_parameters(config) + head_parameters(config)
}

/// Weights that are only looked up.
fn embedding_apart(config: &ModelConfig) -> usize {
    if config.tie_word_embeddings {
        0
    } else {
        head_parameters(config)
    }
}

#[cfg(test)]
mod tests;
