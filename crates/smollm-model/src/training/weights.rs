//! A model's weights, packed for training.

use std::sync::OnceLock;

use candle_core::DType;
use cpu_gemm::{Arithmetic, Format, OperandKind, PackedMatrix};
use rayon::prelude::*;

use crate::ops::row_squares;
use crate::{Checkpoint, ModelConfig, ModelError, Projection};

/// The weights of one block.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) input_layernorm: Vec<f32>,
    pub(super) post_attention_layernorm: Vec<f32>,
    /// Outputs `q | k | v`.
    pub(super) qkv: PackedMatrix,
    pub(super) o: PackedMatrix,
    /// Outputs `gate | up`.
    pub(super) gate_up: PackedMatrix,
    pub(super) down: PackedMatrix,
    /// Of each of these four, in this order, when they are first asked for.
    squares: [OnceLock<Vec<f64>>; 4],
}

/// Where the weight of one projection stands: some rows of a packed matrix.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) matrix: &'a PackedMatrix,
    /// Its first row, a column of what the matrix gives.
    pub(super) column: usize,
    squares: &'a OnceLock<Vec<f64>>,
}

impl<'a> Place<'a> {
    /// Squared norms of all rows of the matrix, as it is packed; computed once. Tasks that run side by side must ask for
    /// different matrices: one that waits for another's result may be what that one waits for.
    pub(super) fn squares(&self) -> &'a [f64] {
        let matrix = self.matrix;
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
    pub(super) head: PackedMatrix,
    pub(super) layers: Vec<Block>,
    pub(super) norm: Vec<f32>,
    /// Whether inputs of products are rounded to bf16: where weights are, and the CPU multiplies them.
    pub(super) rounded: bool,
}

impl Weights {
    /// Packs a checkpoint's weights.
    ///
    /// # Errors
    /// If a tensor cannot be read or packed, or `dtype` is neither F32 nor BF16.
    pub(super) fn load(ck: &Checkpoint, dtype: DType) -> Result<Self, ModelError> {
        let format = match dtype {
            DType::F32 => Format::F32,
            DType::BF16 => Format::Bf16,
            found => return Err(ModelError::LoadType { found }),
        };
        let config = ck.config().clone();
        let (embed_name, head_name) = ("model.embed_tokens.weight", "lm_head.weight");
        let vocabulary = |name: &str| {
            let rows = matrix(ck, name, config.vocab_size, config.hidden_size)?;
            PackedMatrix::from_f32(&rows, config.vocab_size, config.hidden_size, format)
                .map_err(packing(ck, name))
        };
        let (embed, head) = if config.tie_word_embeddings {
            (None, vocabulary(embed_name)?)
        } else {
            (Some(vocabulary(embed_name)?), vocabulary(head_name)?)
        };
        let layers = (0..config.num_hidden_layers)
            .into_par_iter()
            .map(|layer| Block::load(ck, layer, format))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            norm: norm(ck, "model.norm.weight")?,
            rounded: head.operand_kind(Arithmetic::Float) == OperandKind::Bf16,
            config,
            embed,
            head,
            layers,
        })
    }

    /// The embedding of a token, `[hidden]`.
    pub(super) fn embedding(&self, id: u32, row: &mut [f32]) {
        let embed = self.embed.as_ref().unwrap_or(&self.head);
        embed.row(id as usize, row);
    }
}

impl Block {
    /// Where a projection's weight is.
    pub(super) fn place(&self, projection: Projection, config: &ModelConfig) -> Place<'_> {
        let (query, key_value) = (config.query_width(), config.key_value_width());
        let (matrix, number, column) = match projection {
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
            matrix,
            column,
            squares,
        }
    }

    fn load(ck: &Checkpoint, layer: usize, format: Format) -> Result<Self, ModelError> {
        let config = ck.config();
        let linear = |projections: &[Projection]| {
            let (mut rows, mut out, mut inputs) = (Vec::new(), 0, 0);
            let mut last = String::new();
            for projection in projections {
                let (n, k) = projection.dims(config);
                last = format!("model.layers.{layer}.{}.weight", projection.path());
                rows.append(&mut matrix(ck, &last, n, k)?);
                (out, inputs) = (out + n, k);
            }
            PackedMatrix::from_f32(&rows, out, inputs, format).map_err(packing(ck, &last))
        };
        let norm_of = |rest: &str| norm(ck, &format!("model.layers.{layer}.{rest}.weight"));
        Ok(Self {
            input_layernorm: norm_of("input_layernorm")?,
            post_attention_layernorm: norm_of("post_attention_layernorm")?,
            qkv: linear(&[Projection::Q, Projection::K, Projection::V])?,
            o: linear(&[Projection::O])?,
            gate_up: linear(&[Projection::Gate, Projection::Up])?,
            down: linear(&[Projection::Down])?,
            squares: Default::default(),
        })
    }
}

fn matrix(ck: &Checkpoint, name: &str, n: usize, k: usize) -> Result<Vec<f32>, ModelError> {
    let tensor = ck.tensor(name, &[n, k], DType::F32)?;
    Ok(tensor.flatten_all()?.to_vec1()?)
}

fn norm(ck: &Checkpoint, name: &str) -> Result<Vec<f32>, ModelError> {
    let tensor = ck.tensor(name, &[ck.config().hidden_size], DType::F32)?;
    Ok(tensor.to_vec1()?)
}

fn packing(ck: &Checkpoint, name: &str) -> impl FnOnce(cpu_gemm::GemmError) -> ModelError {
    let (path, tensor) = (ck.path().into(), name.to_owned());
    move |source| ModelError::Packing {
        path,
        tensor,
        source,
    }
}
