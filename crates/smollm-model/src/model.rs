//! The Llama-architecture decoder.
//!
//! ```text
//! h ← embed(ids)
//! for each block:  h ← h + O · attention(rope(Q n), rope(K n), V n),   n = rms_norm(h)
//!                  h ← h + Down · swiglu(Gate m, Up m),                m = rms_norm(h)
//! hidden = rms_norm(h),   logits = hidden · lm_headᵀ
//! ```
//! Source: Touvron et al. 2023; transformers' `LlamaForCausalLM`.

use candle_core::{DType, Device, Tensor};

use crate::ops::{self, Heads, KeyValues, LOSS_CHUNK, RopeTable, attend_cached, mix};
use crate::{Checkpoint, Linear, LowRank, ModelConfig, ModelError, Projection, Ragged, Site};

/// Whether a forward pass trains: dropout acts only then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// No dropout.
    Eval,
    /// Dropout with masks that follow from this seed, the adapter's site and the position of the element: the same seed
    /// gives the same masks.
    Train {
        /// Names the masks of one forward pass.
        dropout_seed: u64,
    },
}

/// A SmolLM2 model. Weights are shared, so a clone is cheap; adapters belong to each clone.
#[derive(Clone, Debug)]
pub struct Llama {
    config: ModelConfig,
    embed_tokens: Linear,
    layers: Vec<Block>,
    norm: Tensor,
    lm_head: Linear,
    device: Device,
}

#[derive(Clone, Debug)]
struct Block {
    input_layernorm: Tensor,
    post_attention_layernorm: Tensor,
    /// In the order of [`Projection::ALL`].
    linears: [Linear; 7],
}

/// The keys and values of one sequence in every layer: what a decoder remembers of it.
#[derive(Clone, Debug, Default)]
pub struct KvCache {
    layers: Vec<KeyValues>,
    tokens: usize,
}

impl KvCache {
    /// Tokens remembered.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// What it remembered after its first `tokens` tokens; `width` is that of a token's keys.
    pub(crate) fn prefix(&self, tokens: usize, width: usize) -> Self {
        let layers = self.layers.iter().map(|layer| layer.prefix(tokens * width));
        Self {
            layers: layers.collect(),
            tokens,
        }
    }
}

/// How attention finds earlier tokens.
enum Past<'a, 'b> {
    /// Sequences are whole: differentiable.
    None,
    /// Sequence `i` continues `caches[i]`.
    Cached(&'a mut [&'b mut KvCache]),
}

impl Llama {
    /// Loads every tensor of a checkpoint. Linear weights and embeddings are stored as `dtype` (F32
    /// or BF16); norms are f32, and so is all arithmetic.
    ///
    /// # Errors
    /// If a tensor is missing, has another shape than the configuration says, or cannot be read.
    pub fn load(ck: &Checkpoint, dtype: DType, device: &Device) -> Result<Self, ModelError> {
        let config = ck.config().clone();
        let hidden = config.hidden_size;
        let matrix = |name: &str, rows: usize, cols: usize| {
            Ok::<_, ModelError>(ck.tensor(name, &[rows, cols], dtype)?.to_device(device)?)
        };
        let norm = |name: &str| {
            Ok::<_, ModelError>(ck.tensor(name, &[hidden], DType::F32)?.to_device(device)?)
        };
        let embed_tokens = matrix("model.embed_tokens.weight", config.vocab_size, hidden)?;
        let lm_head = if config.tie_word_embeddings {
            embed_tokens.clone()
        } else {
            matrix("lm_head.weight", config.vocab_size, hidden)?
        };
        let layers = (0..config.num_hidden_layers)
            .map(|i| {
                let linear = |p: Projection| {
                    let (out, inputs) = p.dims(&config);
                    let name = format!("model.layers.{i}.{}.weight", p.path());
                    Ok::<_, ModelError>(Linear {
                        weight: matrix(&name, out, inputs)?,
                        low_rank: None,
                    })
                };
                let [q, k, v, o, gate, up, down] = Projection::ALL;
                Ok(Block {
                    input_layernorm: norm(&format!("model.layers.{i}.input_layernorm.weight"))?,
                    post_attention_layernorm: norm(&format!(
                        "model.layers.{i}.post_attention_layernorm.weight"
                    ))?,
                    linears: [
                        linear(q)?,
                        linear(k)?,
                        linear(v)?,
                        linear(o)?,
                        linear(gate)?,
                        linear(up)?,
                        linear(down)?,
                    ],
                })
            })
            .collect::<Result<_, ModelError>>()?;
        let norm = norm("model.norm.weight")?;
        let plain = |weight| Linear {
            weight,
            low_rank: None,
        };
        Ok(Self {
            config,
            embed_tokens: plain(embed_tokens),
            layers,
            norm,
            lm_head: plain(lm_head),
            device: device.clone(),
        })
    }

    /// Sizes and constants.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// How the linear weights are stored.
    pub fn dtype(&self) -> DType {
        self.embed_tokens.weight.dtype()
    }

    /// A linear layer of block `layer`.
    ///
    /// # Panics
    /// If `layer` is not below `num_hidden_layers`, as indexing does.
    pub fn linear(&self, layer: usize, projection: Projection) -> &Linear {
        &self.layers[layer].linears[projection as usize]
    }

    /// A linear layer of block `layer`, to attach or merge an adapter.
    ///
    /// # Panics
    /// If `layer` is not below `num_hidden_layers`, as indexing does.
    pub fn linear_mut(&mut self, layer: usize, projection: Projection) -> &mut Linear {
        &mut self.layers[layer].linears[projection as usize]
    }

    /// The weight of a site, and its adapter.
    ///
    /// # Panics
    /// If the site's layer is not below `num_hidden_layers`, as indexing does.
    pub fn at(&self, site: Site) -> &Linear {
        match site {
            Site::Embedding => &self.embed_tokens,
            Site::Block { layer, projection } => self.linear(layer, projection),
            Site::Head => &self.lm_head,
        }
    }

    /// The adapter of a site, to put one there or take it away.
    ///
    /// # Panics
    /// If the site's layer is not below `num_hidden_layers`, as indexing does.
    pub fn low_rank_mut(&mut self, site: Site) -> &mut Option<LowRank> {
        &mut self.at_mut(site).low_rank
    }

    /// Puts another weight at a site, and returns the one that stood there. Where one table is embedding and head, the
    /// two part here: the configuration then says that they are not tied, until the same table is at both again.
    ///
    /// # Panics
    /// If the site's layer is not below `num_hidden_layers`, as indexing does.
    pub fn replace_weight(&mut self, site: Site, weight: Tensor) -> Tensor {
        let before = std::mem::replace(&mut self.at_mut(site).weight, weight);
        self.config.tie_word_embeddings = self.embed_tokens.weight.id() == self.lm_head.weight.id();
        before
    }

    fn at_mut(&mut self, site: Site) -> &mut Linear {
        match site {
            Site::Embedding => &mut self.embed_tokens,
            Site::Block { layer, projection } => self.linear_mut(layer, projection),
            Site::Head => &mut self.lm_head,
        }
    }

    /// Every tensor of the model with its Hugging Face name, adapters aside; a tied `lm_head` is left
    /// out, as Hugging Face does.
    pub fn named_weights(&self) -> Vec<(String, &Tensor)> {
        let mut all = vec![(Site::Embedding.weight_name(), &self.embed_tokens.weight)];
        for (i, block) in self.layers.iter().enumerate() {
            let name = |rest: &str| format!("model.layers.{i}.{rest}.weight");
            all.push((name("input_layernorm"), &block.input_layernorm));
            all.push((
                name("post_attention_layernorm"),
                &block.post_attention_layernorm,
            ));
            for (projection, linear) in Projection::ALL.iter().zip(&block.linears) {
                all.push((name(projection.path()), &linear.weight));
            }
        }
        all.push(("model.norm.weight".to_owned(), &self.norm));
        if !self.config.tie_word_embeddings {
            all.push((Site::Head.weight_name(), &self.lm_head.weight));
        }
        all
    }

    /// Hidden states after the final norm, `[tokens, hidden]` f32, for whole sequences.
    /// Differentiable with respect to the adapters' `A`, `B` and magnitudes where these are `Var`s.
    ///
    /// # Errors
    /// If a token id is out of range or a sequence has more tokens than the model has positions.
    pub fn hidden(&self, batch: &Ragged, mode: Mode) -> Result<Tensor, ModelError> {
        self.run(batch, mode, Past::None)
    }

    /// As [`Llama::hidden`], where sequence `i` continues what `caches[i]` holds, and is added to it.
    /// No gradient. Feeding a sequence at once, in pieces or token by token gives the same bits.
    ///
    /// # Errors
    /// As [`Llama::hidden`]; also if there is not one cache for each sequence.
    pub fn hidden_cached(
        &self,
        batch: &Ragged,
        caches: &mut [&mut KvCache],
    ) -> Result<Tensor, ModelError> {
        if caches.len() != batch.segments().len() {
            return Err(ModelError::Argument {
                what: "the number of caches",
                found: caches.len().to_string(),
                expected: format!("{}, one for each sequence", batch.segments().len()),
            });
        }
        self.run(batch, Mode::Eval, Past::Cached(caches))
    }

    /// Scores of every next token, `[rows, vocab]` f32, for `hidden: [rows, hidden]`.
    ///
    /// # Errors
    /// If the shape does not fit.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor, ModelError> {
        Ok(self.lm_head.forward(hidden, None)?)
    }

    /// Sum of the negative log-likelihoods (nats) of `targets[i]` as the token after row `rows[i]` of
    /// `hidden: [tokens, hidden]`; a differentiable scalar. See [`ops::cross_entropy`]. `mode` is for an adapter of the
    /// head; beside one, the logits of all rows are kept for the backward pass.
    ///
    /// # Errors
    /// If a row or a target is out of range.
    pub fn nll(
        &self,
        hidden: &Tensor,
        (rows, targets): (&[u32], &[u32]),
        mode: Mode,
    ) -> Result<Tensor, ModelError> {
        if self.lm_head.low_rank.is_none() {
            let weight = &self.lm_head.weight;
            return Ok(ops::cross_entropy(hidden, weight, rows, targets)?);
        }
        if rows.len() != targets.len() {
            return Err(ModelError::Argument {
                what: "the number of targets",
                found: targets.len().to_string(),
                expected: format!("{}, one for each row", rows.len()),
            });
        }
        let mut total = Tensor::zeros((), DType::F32, &self.device)?;
        let chunks = rows.chunks(LOSS_CHUNK).zip(targets.chunks(LOSS_CHUNK));
        for (chunk, (rows, targets)) in chunks.enumerate() {
            let x = hidden.index_select(&Tensor::new(rows, &self.device)?, 0)?;
            let key = self.dropout_key(Site::Head, mode);
            let logits = self
                .lm_head
                .forward(&x, key.map(|key| mix(key, chunk as u64)))?;
            total = (total + ops::nll_of_logits(&logits, targets)?)?;
        }
        Ok(total)
    }

    /// What the masks of a site follow from, while training.
    fn dropout_key(&self, site: Site, mode: Mode) -> Option<u64> {
        match mode {
            Mode::Eval => None,
            Mode::Train { dropout_seed } => {
                Some(mix(dropout_seed, site.dropout_number(self.layers.len())))
            }
        }
    }

    fn run(&self, batch: &Ragged, mode: Mode, mut past: Past) -> Result<Tensor, ModelError> {
        let config = &self.config;
        let lengths: Vec<usize> = match &past {
            Past::None => vec![0; batch.segments().len()],
            Past::Cached(caches) => caches.iter().map(|cache| cache.tokens).collect(),
        };
        batch.check(config.vocab_size, config.max_position_embeddings, |i| {
            lengths[i]
        })?;
        let positions = batch.positions(|i| lengths[i]);
        let rope = RopeTable::new(&positions, config.head_dim, config.rope_theta);
        let mut h = self.embed(batch)?;
        for (i, block) in self.layers.iter().enumerate() {
            h = self.block(i, block, &h, batch, mode, &rope, &mut past)?;
        }
        if let Past::Cached(caches) = past {
            for (cache, range) in caches.iter_mut().zip(batch.segments().iter()) {
                cache.tokens += range.len();
            }
        }
        Ok(ops::rms_norm(&h, &self.norm, config.rms_norm_eps)?)
    }

    /// The embeddings of a batch's tokens with its noise, `[tokens, hidden]` f32.
    fn embed(&self, batch: &Ragged) -> Result<Tensor, ModelError> {
        let h = self
            .embed_tokens
            .look_up(batch.ids(), self.config.pad_token_id)?;
        if !batch.is_noisy() {
            return Ok(h);
        }
        let mut noise = vec![0f32; h.elem_count()];
        batch.add_noise(0, &mut noise, self.config.hidden_size);
        Ok((&h + Tensor::from_vec(noise, h.dims(), &self.device)?)?)
    }

    /// One block on the residual stream `h: [tokens, hidden]`.
    #[allow(clippy::too_many_arguments)]
    fn block(
        &self,
        index: usize,
        block: &Block,
        h: &Tensor,
        batch: &Ragged,
        mode: Mode,
        rope: &RopeTable,
        past: &mut Past,
    ) -> Result<Tensor, ModelError> {
        let eps = self.config.rms_norm_eps;
        let linear = |p: Projection, x: &Tensor| {
            let key = self.dropout_key(Site::new(index, p), mode);
            block.linears[p as usize].forward(x, key)
        };
        let n = ops::rms_norm(h, &block.input_layernorm, eps)?;
        let q = rope.rotate(&linear(Projection::Q, &n)?)?;
        let k = rope.rotate(&linear(Projection::K, &n)?)?;
        let v = linear(Projection::V, &n)?;
        let attended = self.attend(index, (&q, &k, &v), batch, past)?;
        let h = (h + linear(Projection::O, &attended)?)?;

        let m = ops::rms_norm(&h, &block.post_attention_layernorm, eps)?;
        let activated = ops::swiglu(&linear(Projection::Gate, &m)?, &linear(Projection::Up, &m)?)?;
        Ok((h + linear(Projection::Down, &activated)?)?)
    }

    fn attend(
        &self,
        layer: usize,
        (q, k, v): (&Tensor, &Tensor, &Tensor),
        batch: &Ragged,
        past: &mut Past,
    ) -> Result<Tensor, ModelError> {
        let heads = Heads {
            query: self.config.num_attention_heads,
            key_value: self.config.num_key_value_heads,
            dim: self.config.head_dim,
        };
        Ok(match past {
            Past::None => ops::attention(q, k, v, heads, batch.segments().clone())?,
            Past::Cached(caches) => {
                let mut entries: Vec<&mut KeyValues> = caches
                    .iter_mut()
                    .map(|cache| {
                        if cache.layers.is_empty() {
                            cache
                                .layers
                                .resize_with(self.layers.len(), KeyValues::default);
                        }
                        &mut cache.layers[layer]
                    })
                    .collect();
                attend_cached((q, k, v), heads, batch.segments(), &mut entries)?
            }
        })
    }
}
