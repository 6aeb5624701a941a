//! A linear layer of the model, or its table of embeddings: a frozen weight and, beside it, an optional low-rank adapter.

use candle_core::{DType, Result, Tensor};

use crate::ModelConfig;
use crate::ops::{self, Dropout};

/// The linear layers of a block that an adapter can stand beside, by their names in PEFT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Projection {
    /// `self_attn.q_proj`, `[heads · head_dim, hidden]`
    Q,
    /// `self_attn.k_proj`, `[kv_heads · head_dim, hidden]`
    K,
    /// `self_attn.v_proj`, `[kv_heads · head_dim, hidden]`
    V,
    /// `self_attn.o_proj`, `[hidden, heads · head_dim]`
    O,
    /// `mlp.gate_proj`, `[intermediate, hidden]`
    Gate,
    /// `mlp.up_proj`, `[intermediate, hidden]`
    Up,
    /// `mlp.down_proj`, `[hidden, intermediate]`
    Down,
}

impl Projection {
    /// All seven, in the order of the forward pass.
    pub const ALL: [Self; 7] = [
        Self::Q,
        Self::K,
        Self::V,
        Self::O,
        Self::Gate,
        Self::Up,
        Self::Down,
    ];

    /// The name that `target_modules` uses, e.g. `q_proj`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q => "q_proj",
            Self::K => "k_proj",
            Self::V => "v_proj",
            Self::O => "o_proj",
            Self::Gate => "gate_proj",
            Self::Up => "up_proj",
            Self::Down => "down_proj",
        }
    }

    /// The path inside a block, e.g. `self_attn.q_proj`.
    pub fn path(self) -> &'static str {
        match self {
            Self::Q => "self_attn.q_proj",
            Self::K => "self_attn.k_proj",
            Self::V => "self_attn.v_proj",
            Self::O => "self_attn.o_proj",
            Self::Gate => "mlp.gate_proj",
            Self::Up => "mlp.up_proj",
            Self::Down => "mlp.down_proj",
        }
    }

    /// The Hugging Face name of the weight in a block, e.g. `model.layers.0.self_attn.q_proj.weight`.
    pub fn tensor_name(self, layer: usize) -> String {
        format!("model.layers.{layer}.{}.weight", self.path())
    }

    /// Rows and columns of the weight, `(out, in)`.
    pub fn dims(self, config: &ModelConfig) -> (usize, usize) {
        let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
        match self {
            Self::Q => (config.query_width(), hidden),
            Self::K | Self::V => (config.key_value_width(), hidden),
            Self::O => (hidden, config.query_width()),
            Self::Gate | Self::Up => (intermediate, hidden),
            Self::Down => (hidden, intermediate),
        }
    }

    /// The projection that `target_modules` calls `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name)
    }
}

/// A low-rank update `scale · B A` of a weight; see [`ops::low_rank_linear`]. With a magnitude it is DoRA's:
/// `m ∘ (W + scale · B A) / n`, where `n` holds the norms of that matrix's rows, constants in the backward pass.
#[derive(Clone, Debug)]
pub struct LowRank {
    /// `[rank, in]` f32; a `Var`'s tensor when it is trained.
    pub a: Tensor,
    /// `[out, rank]` f32; a `Var`'s tensor when it is trained.
    pub b: Tensor,
    /// `alpha / rank`, or `alpha / √rank` for rsLoRA.
    pub scale: f64,
    /// Probability of dropping an input feature of the adapter while training; without effect beside the embedding.
    pub dropout: f32,
    /// `m`, `[out]` f32; a `Var`'s tensor when it is trained. None is plain `LoRA`.
    pub magnitude: Option<Tensor>,
}

impl LowRank {
    /// `m / n`, `[out]`, by which the outputs beside this weight are multiplied; differentiable in `m` alone. None
    /// without a magnitude. 0 where a row of `W + scale · B A` is zero.
    ///
    /// # Errors
    /// If the shapes do not fit or a tensor is not on the CPU.
    pub fn output_scales(&self, weight: &Tensor) -> Result<Option<Tensor>> {
        let Some(magnitude) = &self.magnitude else {
            return Ok(None);
        };
        let norms = ops::adapted_row_norms(weight, (&self.a, &self.b), self.scale)?;
        let norms = norms.to_vec1::<f32>()?.into_iter().map(ops::divisor);
        let divisors = Tensor::from_vec(norms.collect(), weight.dim(0)?, weight.device())?;
        Ok(Some((magnitude / divisors)?))
    }
}

/// `Y = X Wᵀ`, plus a low-rank update where there is one. No bias: the architecture has none.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[out, in]`, f32 or bf16, frozen; `[in, out]` for the embedding, whose inputs are tokens.
    pub weight: Tensor,
    /// The adapter.
    pub low_rank: Option<LowRank>,
}

impl Linear {
    /// `x: [tokens, in]` to `[tokens, out]`, f32. `dropout_key` is given while training.
    pub(crate) fn forward(&self, x: &Tensor, dropout_key: Option<u64>) -> Result<Tensor> {
        let Some(update) = &self.low_rank else {
            return ops::frozen_linear(x, &self.weight);
        };
        let dropout = dropout_key.and_then(|key| Dropout::new(update.dropout, key));
        let factors = (&update.a, &update.b);
        let y = ops::low_rank_linear(x, &self.weight, factors, update.scale, dropout)?;
        match update.output_scales(&self.weight)? {
            None => Ok(y),
            Some(scales) => y.broadcast_mul(&scales),
        }
    }

    /// Rows `ids: [tokens]` of the embedding's table, `[tokens, out]` f32, plus `scale · B A[:, id]` for each. No gradient
    /// reaches the column of `A` of the token `padding`, as in `torch.nn.Embedding` with `padding_idx`.
    pub(crate) fn look_up(&self, ids: &[u32], padding: Option<u32>) -> Result<Tensor> {
        let device = self.weight.device();
        let at = Tensor::new(ids, device)?;
        let rows = self.weight.index_select(&at, 0)?.to_dtype(DType::F32)?;
        let Some(update) = &self.low_rank else {
            return Ok(rows);
        };
        let mut u = update.a.index_select(&at, 1)?.t()?;
        if let Some(padding) = padding.filter(|padding| ids.contains(padding)) {
            let still = ids.iter().map(|id| f32::from(*id == padding)).collect();
            let still = Tensor::from_vec(still, (ids.len(), 1), device)?;
            let learns = still.affine(-1.0, 1.0)?;
            u = (u.broadcast_mul(&learns)? + u.detach().broadcast_mul(&still)?)?;
        }
        rows + (u.matmul(&update.b.t()?)? * update.scale)?
    }
}
