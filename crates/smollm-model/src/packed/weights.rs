//! A model's weights, packed for inference.

use cpu_gemm::{Arithmetic, Format, PackedMatrix};
use rayon::prelude::*;

use super::adapter::PackedAdapter;
use super::cache::Shape;
use super::stacked::Stacked;
use crate::{Checkpoint, ModelConfig, ModelError, Projection, Site};

/// How weights are kept in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightFormat {
    /// As they are stored: f32, bf16, and blocks of `Q8_0`, `Q4_0`, `Q4_1`, `Q5_0`, `Q5_1`, `Q4_K`, `Q5_K` and `Q6_K` stay what
    /// they are; f16 becomes f32, and other quantised types become `Q8_0`.
    #[default]
    Stored,
    /// 32 bits; quantised weights are expanded exactly.
    F32,
    /// 16 bits with f32's range.
    Bf16,
    /// 8 bits and a scale for 32 weights.
    Q8_0,
}

/// The weights of one block.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) input_layernorm: Vec<f32>,
    pub(super) post_attention_layernorm: Vec<f32>,
    pub(super) qkv: Stacked,
    pub(super) o: Stacked,
    pub(super) gate_up: Stacked,
    pub(super) down: Stacked,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Weights {
    pub(super) config: ModelConfig,
    pub(super) embed: PackedMatrix,
    /// `None` where it is the embedding.
    lm_head: Option<Stacked>,
    tied: Stacked,
    pub(super) layers: Vec<Block>,
    pub(super) norm: Vec<f32>,
    pub(super) adapters: Vec<PackedAdapter>,
}

impl Weights {
    /// Packs a checkpoint's weights.
    ///
    /// # Errors
    /// If a tensor cannot be read, or its width is no multiple of 32 and it is to be quantised.
    pub(super) fn load(ck: &Checkpoint, format: WeightFormat) -> Result<Self, ModelError> {
        let config = ck.config().clone();
        let (vocab, hidden) = (config.vocab_size, config.hidden_size);
        let embed = ck.packed("model.embed_tokens.weight", vocab, hidden, format)?;
        let lm_head = if config.tie_word_embeddings {
            None
        } else {
            let head = ck.packed("lm_head.weight", vocab, hidden, format)?;
            Some(Stacked::new(vec![head]))
        };
        let quantised = any_quantised(ck, &config, format);
        let layers = (0..config.num_hidden_layers)
            .into_par_iter()
            .map(|layer| Block::load(ck, layer, format, quantised))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            norm: norm(ck, "model.norm.weight")?,
            tied: Stacked::new(vec![embed.clone()]),
            config,
            embed,
            lm_head,
            layers,
            adapters: Vec::new(),
        })
    }

    pub(super) fn lm_head(&self) -> &Stacked {
        self.lm_head.as_ref().unwrap_or(&self.tied)
    }

    /// Row `j` of a site's weight, as it is packed; of the embedding, a token's.
    ///
    /// # Panics
    /// If there is no such layer or row, or `out` does not have as many elements as a row of the weight.
    pub(super) fn row(&self, site: Site, j: usize, out: &mut [f32]) {
        let (layer, projection) = match site {
            Site::Embedding => return self.embed.row(j, out),
            Site::Head => return self.lm_head().part(0).row(j, out),
            Site::Block { layer, projection } => (layer, projection),
        };
        let block = &self.layers[layer];
        let (stacked, part) = match projection {
            Projection::Q => (&block.qkv, 0),
            Projection::K => (&block.qkv, 1),
            Projection::V => (&block.qkv, 2),
            Projection::O => (&block.o, 0),
            Projection::Gate => (&block.gate_up, 0),
            Projection::Up => (&block.gate_up, 1),
            Projection::Down => (&block.down, 0),
        };
        stacked.part(part).row(j, out);
    }

    pub(super) fn shape(&self) -> Shape {
        Shape {
            heads: self.config.num_key_value_heads,
            dim: self.config.head_dim,
        }
    }

    /// Bytes that a decoded token must read: all linear layers and the output projection.
    pub(super) fn bytes_per_token(&self) -> usize {
        let blocks = self.layers.iter().map(|block| {
            [&block.qkv, &block.o, &block.gate_up, &block.down]
                .map(Stacked::bytes)
                .iter()
                .sum::<usize>()
        });
        blocks.sum::<usize>() + self.lm_head().bytes()
    }

    /// Multiplications with a weight that a token costs, the output projection aside.
    pub(super) fn linear_parameters(&self) -> usize {
        let of = |s: &Stacked| s.n() * s.k();
        let blocks = self
            .layers
            .iter()
            .map(|block| of(&block.qkv) + of(&block.o) + of(&block.gate_up) + of(&block.down));
        blocks.sum()
    }
}

impl Block {
    fn load(
        ck: &Checkpoint,
        layer: usize,
        format: WeightFormat,
        quantised: bool,
    ) -> Result<Self, ModelError> {
        let config = ck.config();
        let stacked = |projections: &[Projection]| {
            let parts = projections.iter().map(|projection| {
                let (out, inputs) = projection.dims(config);
                let name = format!("model.layers.{layer}.{}.weight", projection.path());
                let packed = ck.packed(&name, out, inputs, format)?;
                // All linear layers take the same kind of input.
                if quantised && !is_quantised(&packed) {
                    ck.packed(&name, out, inputs, WeightFormat::Q8_0)
                } else {
                    Ok(packed)
                }
            });
            parts.collect::<Result<_, ModelError>>().map(Stacked::new)
        };
        let norm_of = |rest: &str| norm(ck, &format!("model.layers.{layer}.{rest}.weight"));
        Ok(Self {
            input_layernorm: norm_of("input_layernorm")?,
            post_attention_layernorm: norm_of("post_attention_layernorm")?,
            qkv: stacked(&[Projection::Q, Projection::K, Projection::V])?,
            o: stacked(&[Projection::O])?,
            gate_up: stacked(&[Projection::Gate, Projection::Up])?,
            down: stacked(&[Projection::Down])?,
        })
    }
}

fn is_quantised(packed: &PackedMatrix) -> bool {
    packed.operand_kind(Arithmetic::Integer) == cpu_gemm::OperandKind::Int8
}

/// Whether any linear layer stays quantised: then all are.
fn any_quantised(ck: &Checkpoint, config: &ModelConfig, format: WeightFormat) -> bool {
    let layers = 0..config.num_hidden_layers;
    layers
        .flat_map(|layer| Projection::ALL.map(|p| (layer, p)))
        .any(|(layer, projection)| {
            let name = format!("model.layers.{layer}.{}.weight", projection.path());
            !matches!(ck.packed_format(&name, format), Format::F32 | Format::Bf16)
        })
}

fn norm(ck: &Checkpoint, name: &str) -> Result<Vec<f32>, ModelError> {
    let tensor = ck.tensor(name, &[ck.config().hidden_size], candle_core::DType::F32)?;
    Ok(tensor.to_vec1()?)
}
