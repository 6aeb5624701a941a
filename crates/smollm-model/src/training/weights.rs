//! A model's weights, packed for training.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use candle_core::DType;
use cpu_gemm::{Format, PackedMatrix};
use rayon::prelude::*;

use super::TrainingOptions;
use super::products::Frozen;
use crate::ops::row_squares;
use crate::{Checkpoint, ModelConfig, ModelError, Projection, WeightFormat};

/// The weights of one block.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) input_layernorm: Vec<f32>,
    pub(super) post_attention_layernorm: Vec<f32>,
    /// Outputs `q | k | v`.
    pub(super) qkv: Frozen,
    pub(super) o: Frozen,
    /// Outputs `gate | up`.
    pub(super) gate_up: Frozen,
    pub(super) down: Frozen,
    /// Of each of these four, in this order, when they are first asked for.
    squares: [OnceLock<Vec<f64>>; 4],
}

/// Where the weight of one projection stands: some rows of a packed matrix.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) weights: &'a Frozen,
    /// Its first row, a column of what the matrix gives.
    pub(super) column: usize,
    squares: &'a OnceLock<Vec<f64>>,
}

impl<'a> Place<'a> {
    /// Squared norms of all rows of the matrix, as it is packed; computed once. Tasks that run side by side must ask for
    /// different matrices: one that waits for another's result may be what that one waits for.
    pub(super) fn squares(&self) -> &'a [f64] {
        let matrix = &self.weights.matrix;
        self.squares
            .get_or_init(|| row_squares(matrix.n(), matrix.k(), None, &|j, row| matrix.row(j, row)))
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Weights {
    pub(super) config: ModelConfig,
    /// `None` where it is the head.
    embed: Option<PackedMatrix>,
    /// `[vocab, hidden]`
    pub(super) head: Frozen,
    /// Of the head, when they are first asked for.
    head_squares: OnceLock<Vec<f64>>,
    pub(super) layers: Vec<Block>,
    pub(super) norm: Vec<f32>,
    /// Whether inputs of products are rounded to bf16.
    pub(super) rounded: bool,
}

impl Weights {
    /// Packs a checkpoint's weights.
    ///
    /// # Errors
    /// If a tensor cannot be read or packed, or the options' `dtype` is neither F32 nor BF16.
    pub(super) fn load(ck: &Checkpoint, options: TrainingOptions) -> Result<Self, ModelError> {
        let source = Source::new(ck, options)?;
        let (embed, head) = source.vocabulary();
        let layers = (0..ck.config().num_hidden_layers)
            .into_par_iter()
            .map(|layer| Block::load(&source, layer))
            .collect::<Result<_, _>>()?;
        let head = source.frozen(&head)?;
        Ok(Self {
            norm: norm(ck, "model.norm.weight")?,
            config: ck.config().clone(),
            embed: embed.map(|embed| source.packed(&embed)).transpose()?,
            rounded: head.rounds(),
            head,
            head_squares: OnceLock::new(),
            layers,
        })
    }

    /// Bytes that they will have once something is taken out of the weights `changed`.
    pub(super) fn bytes(
        ck: &Checkpoint,
        options: TrainingOptions,
        changed: &[(usize, Projection)],
    ) -> Result<usize, ModelError> {
        let name = |(layer, projection): &(usize, Projection)| projection.tensor_name(*layer);
        let mut source = Source::new(ck, options)?;
        source.changed = changed.iter().map(name).collect();
        let (embed, head) = source.vocabulary();
        let layers = (0..ck.config().num_hidden_layers).flat_map(|layer| source.block(layer));
        let groups = embed.into_iter().chain([head]).chain(layers);
        Ok(groups.map(|group| source.bytes(&group)).sum())
    }

    /// Where the head is.
    pub(super) fn head_place(&self) -> Place<'_> {
        Place {
            weights: &self.head,
            column: 0,
            squares: &self.head_squares,
        }
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        let blocks = self.layers.iter();
        let blocks = blocks.flat_map(|block| [&block.qkv, &block.o, &block.gate_up, &block.down]);
        let matrices = blocks.chain([&self.head]).map(|frozen| &frozen.matrix);
        matrices.chain(&self.embed).map(PackedMatrix::bytes).sum()
    }

    /// The embedding of a token, `[hidden]`.
    pub(super) fn embedding(&self, id: u32, row: &mut [f32]) {
        let embed = self.embed.as_ref().unwrap_or(&self.head.matrix);
        embed.row(id as usize, row);
    }
}

impl Block {
    /// Where a projection's weight is.
    pub(super) fn place(&self, projection: Projection, config: &ModelConfig) -> Place<'_> {
        let (query, key_value) = (config.query_width(), config.key_value_width());
        let (weights, number, column) = match projection {
            Projection::Q => (&self.qkv, 0, 0),
            Projection::K => (&self.qkv, 0, query),
            Projection::V => (&self.qkv, 0, query + key_value),
            Projection::O => (&self.o, 1, 0),
            Projection::Gate => (&self.gate_up, 2, 0),
            Projection::Up => (&self.gate_up, 2, config.intermediate_size),
            Projection::Down => (&self.down, 3, 0),
        };
        let squares = &self.squares[number];
        Place {
            weights,
            column,
            squares,
        }
    }

    fn load(source: &Source<'_>, layer: usize) -> Result<Self, ModelError> {
        let [qkv, o, gate_up, down] = source.block(layer);
        let norm_of = |rest: &str| norm(source.ck, &format!("model.layers.{layer}.{rest}.weight"));
        Ok(Self {
            input_layernorm: norm_of("input_layernorm")?,
            post_attention_layernorm: norm_of("post_attention_layernorm")?,
            qkv: source.frozen(&qkv)?,
            o: source.frozen(&o)?,
            gate_up: source.frozen(&gate_up)?,
            down: source.frozen(&down)?,
            squares: Default::default(),
        })
    }
}

/// Weights that have the same input and become one matrix, their outputs below each other.
struct Group {
    /// Names and outputs.
    parts: Vec<(String, usize)>,
    inputs: usize,
}

impl Group {
    /// Whether its parts can be packed each for itself and put together: all but the last fill their panels.
    fn stacks(&self) -> bool {
        let fill = |parts: &[(String, usize)]| parts.iter().all(|(_, n)| n.is_multiple_of(16));
        self.parts.split_last().is_none_or(|(_, above)| fill(above))
    }
}

/// Where weights come from, and how they are to be kept.
struct Source<'a> {
    ck: &'a Checkpoint,
    options: TrainingOptions,
    /// What a weight becomes that has no format of its own.
    float: Format,
    /// Names of weights that will not stay what is stored.
    changed: BTreeSet<String>,
}

impl<'a> Source<'a> {
    fn new(ck: &'a Checkpoint, options: TrainingOptions) -> Result<Self, ModelError> {
        let float = match options.dtype {
            DType::F32 => Format::F32,
            DType::BF16 => Format::Bf16,
            found => return Err(ModelError::LoadType { found }),
        };
        Ok(Self {
            ck,
            options,
            float,
            changed: BTreeSet::new(),
        })
    }

    /// The embedding where it is not the head, and the head.
    fn vocabulary(&self) -> (Option<Group>, Group) {
        let config = self.ck.config();
        let group = |name: &str| Group {
            parts: vec![(name.to_owned(), config.vocab_size)],
            inputs: config.hidden_size,
        };
        let embed = group("model.embed_tokens.weight");
        if config.tie_word_embeddings {
            (None, embed)
        } else {
            (Some(embed), group("lm_head.weight"))
        }
    }

    /// The four matrices of a block: q, k and v; o; gate and up; down.
    fn block(&self, layer: usize) -> [Group; 4] {
        let config = self.ck.config();
        let groups: [&[Projection]; 4] = [
            &[Projection::Q, Projection::K, Projection::V],
            &[Projection::O],
            &[Projection::Gate, Projection::Up],
            &[Projection::Down],
        ];
        groups.map(|projections| Group {
            parts: projections
                .iter()
                .map(|projection| {
                    let name = format!("model.layers.{layer}.{}.weight", projection.path());
                    (name, projection.dims(config).0)
                })
                .collect(),
            inputs: projections[0].dims(config).1,
        })
    }

    /// How a group is kept: as it is stored where that is one format, from which its parts can be put together.
    fn format(&self, group: &Group) -> Format {
        let of = |(name, _): &(String, usize)| match self.options.format {
            WeightFormat::Stored if self.changed.contains(name) => self.float,
            kept => self.ck.training_format(name, kept, self.float),
        };
        let first = of(&group.parts[0]);
        if group.stacks() && group.parts.iter().all(|part| of(part) == first) {
            first
        } else {
            self.float
        }
    }

    fn bytes(&self, group: &Group) -> usize {
        let outputs = group.parts.iter().map(|(_, outputs)| outputs).sum();
        PackedMatrix::size(self.format(group), outputs, group.inputs)
    }

    fn frozen(&self, group: &Group) -> Result<Frozen, ModelError> {
        let matrix = self.packed(group)?;
        Ok(Frozen::new(matrix, self.options.dtype))
    }

    fn packed(&self, group: &Group) -> Result<PackedMatrix, ModelError> {
        let (format, inputs) = (self.format(group), group.inputs);
        let (last, _) = &group.parts[group.parts.len() - 1];
        let failed = |source| ModelError::Packing {
            path: self.ck.path().into(),
            tensor: last.clone(),
            source,
        };
        if !group.stacks() {
            let mut rows = Vec::new();
            for (name, outputs) in &group.parts {
                let tensor = self.ck.tensor(name, &[*outputs, inputs], DType::F32)?;
                rows.append(&mut tensor.flatten_all()?.to_vec1()?);
            }
            let outputs = group.parts.iter().map(|(_, outputs)| outputs).sum();
            return PackedMatrix::from_f32(&rows, outputs, inputs, format).map_err(failed);
        }
        let packed =
            |(name, outputs): &(String, usize)| self.ck.packed_as(name, *outputs, inputs, format);
        let mut parts: Vec<_> = group.parts.iter().map(packed).collect::<Result<_, _>>()?;
        match parts.pop() {
            Some(only) if parts.is_empty() => Ok(only),
            last => {
                parts.extend(last);
                PackedMatrix::stack(parts).map_err(failed)
            }
        }
    }
}

fn norm(ck: &Checkpoint, name: &str) -> Result<Vec<f32>, ModelError> {
    let tensor = ck.tensor(name, &[ck.config().hidden_size], DType::F32)?;
    Ok(tensor.to_vec1()?)
}
