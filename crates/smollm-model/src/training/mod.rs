//! Training adapters beside packed weights: the forward and the backward pass, written out by hand.
//!
//! The differentiable [`crate::Llama`] is the reference: candle records its operations and walks them back. Here the walk
//! is known in advance, so everything that such a record costs falls away:
//!
//! - **Frozen weights are packed once** ([`cpu_gemm`]), for `Y = X Wᵀ` and `dX = dY W` both, as they are stored: blocks of a
//!   quantised file become floats within a product. In bf16 both sides of these products are rounded to bf16 and summed in
//!   f32; everything else, adapters included, is f32.
//! - **A block keeps what its backward pass cannot form again cheaply**: its input, rotated queries, keys and values,
//!   attention's output and log-sum-exp, gate and up. Norms, activations and probabilities are computed again. With
//!   [`Checkpointing::Block`] only the input is kept.
//! - **Norms of rows without rows** ([DoRA's magnitudes](TrainingSite::magnitude)): they follow from products with as
//!   many inputs as an adapter's rank, once a call.
//! - **No gradient that nobody asked for**: only adapters have one, and the walk back ends at the lowest of them; beside
//!   an adapter of the head alone there is none.
//! - **Memory is kept** from call to call: no page is touched for the first time twice.
//!
//! Every sum has one order, whatever the number of threads: the same batch gives the same bits.

// A kernel's body must be compiled with the instructions of the level that `simd::dispatch` chose, so
// it has to be inlined into it.
#![allow(clippy::inline_always)]

mod attention;
mod backward;
mod columns;
mod cost;
mod embedding;
mod forward;
mod loss;
mod low_rank;
mod magnitude;
mod products;
mod rows;
mod sites;
mod weights;

use candle_core::DType;

pub use cost::{BatchShape, SiteShape, TrainingCost, TrainingMemory};
pub use sites::{SiteGradients, TrainingSite};

use crate::buffer::grow;
use crate::ops::{Dropout, Heads, RopeTable, mix};
use crate::{Checkpoint, ModelConfig, ModelError, Projection, Ragged, Site, WeightFormat};
use forward::Saved;
use loss::{LossScratch, Wanted};
use low_rank::LowRankSite;
pub(crate) use sites::{Lowest, Prepared, Stage, check_gradients};
use weights::Weights;

/// What is kept of a forward pass for the backward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checkpointing {
    /// What each block's backward pass needs: the fastest.
    #[default]
    None,
    /// The input of each block, which is then run again: a third of the products more, a tenth of the memory. The
    /// results are the same, bit for bit.
    Block,
}

/// How a model is kept and trained.
#[derive(Clone, Copy, Debug)]
pub struct TrainingOptions {
    /// What products with frozen weights are computed in: F32, or BF16, with sums in f32.
    pub dtype: DType,
    /// How frozen weights are kept. [`WeightFormat::Stored`] keeps bf16 and the blocks of all formats in
    /// [`cpu_gemm::Format::QUANTISED`], which become floats within a product (`QLoRA`, Dettmers et al. 2023, over GGUF's types): the same products as with floats
    /// that were expanded at load, in less memory. Everything else becomes `dtype`.
    pub format: WeightFormat,
    /// What is kept of a forward pass.
    pub checkpointing: Checkpointing,
    /// Threads; by default those of the rayon pool that the call comes from.
    pub threads: Option<usize>,
}

impl Default for TrainingOptions {
    fn default() -> Self {
        Self {
            dtype: DType::F32,
            format: WeightFormat::Stored,
            checkpointing: Checkpointing::default(),
            threads: None,
        }
    }
}

/// Sequences, and which of their tokens count in the loss.
#[derive(Clone, Copy, Debug)]
pub struct TrainingBatch<'a> {
    /// The inputs.
    pub sequences: &'a Ragged,
    /// Rows of the batch, each of which predicts a token.
    pub rows: &'a [u32],
    /// That token, for each of `rows`.
    pub targets: &'a [u32],
}

impl TrainingBatch<'_> {
    /// # Errors
    /// A token, row or target out of range, a sequence that is too long, not one target for each row.
    pub(crate) fn check(&self, config: &ModelConfig) -> Result<(), ModelError> {
        let sequences = self.sequences;
        sequences.check(config.vocab_size, config.max_position_embeddings, |_| 0)?;
        let refuse = |what, found: String, expected| {
            Err(ModelError::Argument {
                what,
                found,
                expected,
            })
        };
        let (rows, targets) = (self.rows, self.targets);
        if rows.len() != targets.len() {
            let found = targets.len().to_string();
            let expected = format!("{}, one for each row", rows.len());
            return refuse("the number of targets", found, expected);
        }
        let tokens = sequences.tokens();
        if let Some(row) = rows.iter().find(|row| **row as usize >= tokens) {
            let expected = format!("below {tokens}, the batch's tokens");
            return refuse("a supervised row", row.to_string(), expected);
        }
        let vocab = config.vocab_size;
        if let Some(target) = targets.iter().find(|target| **target as usize >= vocab) {
            let expected = format!("below {vocab}, the vocabulary's size");
            return refuse("a target's token id", target.to_string(), expected);
        }
        Ok(())
    }
}

/// What computes losses and gradients of adapters beside frozen weights. The same batch gives the same bits.
pub trait TrainingModel: std::fmt::Debug {
    /// Sizes and constants.
    fn config(&self) -> &ModelConfig;

    /// What is kept of a forward pass.
    fn checkpointing(&self) -> Checkpointing;

    /// Sum of the negative log-likelihoods (nats) of the batch's targets, dropout off.
    ///
    /// # Errors
    /// A token, row or target out of range, a sequence that is too long, a site that does not fit the model.
    fn nll(
        &mut self,
        batch: TrainingBatch<'_>,
        sites: &[TrainingSite<'_>],
    ) -> Result<f64, ModelError>;

    /// Sum of the negative log-likelihoods (nats) of the batch's targets, with dropout; adds `factor` times its gradient
    /// to `gradients[i]` for each of `sites[i]`.
    ///
    /// The masks of dropout are those of [`crate::Mode::Train`] with the same seed.
    ///
    /// # Errors
    /// As [`TrainingModel::nll`]; also if there is not one gradient, of the right size, for each site.
    fn gradients(
        &mut self,
        batch: TrainingBatch<'_>,
        sites: &[TrainingSite<'_>],
        dropout_seed: u64,
        factor: f32,
        gradients: &mut [SiteGradients],
    ) -> Result<f64, ModelError>;
}

/// A model packed for training adapters.
///
/// ```
/// use smollm_model::{
///     Checkpoint, ModelSource, Projection, Ragged, Site, SiteGradients, TrainingBatch, TrainingLlama, TrainingOptions,
///     TrainingSite,
/// };
///
/// # std::env::set_current_dir("../..")?;
/// let files = ModelSource::parse("fixtures/tiny-model")?.resolve()?;
/// let mut model = TrainingLlama::load(&Checkpoint::open(&files)?, TrainingOptions::default())?;
/// let at = Site::new(1, Projection::V);
/// let (out, inputs) = at.dims(model.config());
/// let (a, b) = (vec![0.1; 2 * inputs], vec![0.0; out * 2]);
/// let site = TrainingSite { site: at, rank: 2, scale: 1.0, dropout: 0.0, a: &a, b: &b, magnitude: None };
/// let batch = TrainingBatch { sequences: &Ragged::new(&[[1, 327, 201]])?, rows: &[1], targets: &[201] };
/// let mut gradients = vec![SiteGradients::zeros(&site)];
/// let nll = model.gradients(batch, &[site], 7, 1.0, &mut gradients)?;
/// assert!(nll > 0.0 && gradients[0].b.iter().any(|g| *g != 0.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TrainingLlama {
    weights: Weights,
    checkpointing: Checkpointing,
    pool: Option<rayon::ThreadPool>,
    memory: Memory,
}

/// Memory of a call, kept for the next.
#[derive(Debug, Default)]
struct Memory {
    /// The input of each block, and the output of the last: `[tokens, hidden]` each.
    inputs: Vec<Vec<f32>>,
    /// What is kept of each block; one for all where blocks are run again.
    saved: Vec<Saved>,
    /// Gradient of the residual stream, `[tokens, hidden]`.
    dh: Vec<f32>,
    forward: forward::Scratch,
    backward: backward::Scratch,
    loss: LossScratch,
}

/// What does not change during a call.
struct Pass<'a> {
    weights: &'a Weights,
    config: &'a ModelConfig,
    batch: &'a Ragged,
    heads: Heads,
    rope: RopeTable,
    sites: &'a Prepared<'a>,
    dropout_seed: Option<u64>,
}

impl Pass<'_> {
    fn tokens(&self) -> usize {
        self.batch.tokens()
    }

    /// The dropout of one site: the masks of [`crate::Mode::Train`].
    fn dropout(&self, site: &LowRankSite<'_>) -> Option<Dropout> {
        Dropout::new(site.dropout, self.dropout_key(site.site)?)
    }

    fn dropout_key(&self, site: Site) -> Option<u64> {
        let number = site.dropout_number(self.weights.layers.len());
        self.dropout_seed.map(|seed| mix(seed, number))
    }
}

impl TrainingLlama {
    /// Packs a checkpoint.
    ///
    /// # Errors
    /// If a tensor cannot be read or packed, the type is neither F32 nor BF16, or the system gives no threads.
    pub fn load(ck: &Checkpoint, options: TrainingOptions) -> Result<Self, ModelError> {
        let pool = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.map_err(|source| ModelError::Threads {
                threads,
                source: std::io::Error::other(source),
            })
        };
        Ok(Self {
            weights: Weights::load(ck, options)?,
            checkpointing: options.checkpointing,
            pool: options.threads.map(pool).transpose()?,
            memory: Memory::default(),
        })
    }

    /// Bytes of memory that a checkpoint's packed weights will take once something is taken out of the weights `changed`
    /// ([`Checkpoint::subtract`]): what is stored in blocks cannot stay so then.
    ///
    /// # Errors
    /// If the type is neither F32 nor BF16.
    pub fn weight_bytes(
        ck: &Checkpoint,
        options: TrainingOptions,
        changed: &[(usize, Projection)],
    ) -> Result<usize, ModelError> {
        Weights::bytes(ck, options, changed)
    }

    /// Sizes and constants.
    pub fn config(&self) -> &ModelConfig {
        &self.weights.config
    }

    /// What is kept of a forward pass.
    pub fn checkpointing(&self) -> Checkpointing {
        self.checkpointing
    }

    /// Sum of the negative log-likelihoods (nats) of the batch's targets, dropout off.
    ///
    /// # Errors
    /// A token, row or target out of range, a sequence that is too long, a site that does not fit the model.
    pub fn nll(
        &mut self,
        batch: TrainingBatch<'_>,
        sites: &[TrainingSite<'_>],
    ) -> Result<f64, ModelError> {
        batch.check(&self.weights.config)?;
        let mut prepared = Prepared::new(&self.weights.config, sites)?;
        Ok(self.in_pool(|weights, checkpointing, memory| {
            prepared.measure(weights);
            let pass = pass(weights, batch, &prepared, None);
            memory.forward(&pass, checkpointing, false);
            memory.loss(&pass, batch, None)
        }))
    }

    /// Sum of the negative log-likelihoods (nats) of the batch's targets, with dropout; adds `factor` times its gradient
    /// to `gradients[i]` for each of `sites[i]`.
    ///
    /// The masks of dropout are those of [`crate::Mode::Train`] with the same seed.
    ///
    /// # Errors
    /// As [`TrainingLlama::nll`]; also if there is not one gradient, of the right size, for each site.
    pub fn gradients(
        &mut self,
        batch: TrainingBatch<'_>,
        sites: &[TrainingSite<'_>],
        dropout_seed: u64,
        factor: f32,
        gradients: &mut [SiteGradients],
    ) -> Result<f64, ModelError> {
        batch.check(&self.weights.config)?;
        let mut prepared = Prepared::new(&self.weights.config, sites)?;
        check_gradients(sites, gradients)?;
        Ok(self.in_pool(|weights, checkpointing, memory| {
            prepared.measure(weights);
            let pass = pass(weights, batch, &prepared, Some(dropout_seed));
            let lowest = prepared.lowest();
            let walks = lowest.is_some_and(|lowest| lowest < Lowest::Head);
            memory.forward(&pass, checkpointing, walks);
            let Some(lowest) = lowest else {
                return memory.loss(&pass, batch, None);
            };
            let wanted = (factor, walks, &mut *gradients);
            let nll = memory.loss(&pass, batch, Some(wanted));
            memory.backward(&pass, checkpointing, lowest, gradients);
            nll
        }))
    }

    /// Runs `work` inside the pool, so that none of its many small parallel parts has to be sent there.
    fn in_pool<R: Send>(
        &mut self,
        work: impl FnOnce(&Weights, Checkpointing, &mut Memory) -> R + Send,
    ) -> R {
        let (weights, checkpointing, memory) =
            (&self.weights, self.checkpointing, &mut self.memory);
        match &self.pool {
            Some(pool) => pool.install(|| work(weights, checkpointing, memory)),
            None => rayon::scope(|_| work(weights, checkpointing, memory)),
        }
    }
}

impl TrainingModel for TrainingLlama {
    fn config(&self) -> &ModelConfig {
        self.config()
    }

    fn checkpointing(&self) -> Checkpointing {
        self.checkpointing()
    }

    fn nll(
        &mut self,
        batch: TrainingBatch<'_>,
        sites: &[TrainingSite<'_>],
    ) -> Result<f64, ModelError> {
        self.nll(batch, sites)
    }

    fn gradients(
        &mut self,
        batch: TrainingBatch<'_>,
        sites: &[TrainingSite<'_>],
        dropout_seed: u64,
        factor: f32,
        gradients: &mut [SiteGradients],
    ) -> Result<f64, ModelError> {
        self.gradients(batch, sites, dropout_seed, factor, gradients)
    }
}

fn pass<'a>(
    weights: &'a Weights,
    batch: TrainingBatch<'a>,
    sites: &'a Prepared<'a>,
    dropout_seed: Option<u64>,
) -> Pass<'a> {
    let config = &weights.config;
    let positions = batch.sequences.positions(|_| 0);
    Pass {
        weights,
        config,
        batch: batch.sequences,
        heads: Heads {
            query: config.num_attention_heads,
            key_value: config.num_key_value_heads,
            dim: config.head_dim,
        },
        rope: RopeTable::new(&positions, config.head_dim, config.rope_theta),
        sites,
        dropout_seed,
    }
}

impl Memory {
    /// All blocks; `keep` says whether a backward pass follows.
    fn forward(&mut self, pass: &Pass<'_>, checkpointing: Checkpointing, keep: bool) {
        let layers = pass.weights.layers.len();
        let values = pass.tokens() * pass.config.hidden_size;
        self.inputs.resize_with(layers + 1, Vec::new);
        let one_for_all = !keep || checkpointing == Checkpointing::Block;
        let kept = if one_for_all { 1 } else { layers };
        self.saved.resize_with(kept, Saved::default);
        pass.embed(grow(&mut self.inputs[0], values));
        for layer in 0..layers {
            let (before, after) = self.inputs.split_at_mut(layer + 1);
            let saved = &mut self.saved[layer.min(kept - 1)];
            let next = grow(&mut after[0], values);
            pass.forward_block(
                layer,
                &before[layer][..values],
                saved,
                next,
                &mut self.forward,
            );
        }
    }

    /// The loss. With a `factor` also that times its gradients: those of the head's adapter and, where it `walks` on,
    /// that of the last block's output, in `dh`.
    fn loss(
        &mut self,
        pass: &Pass<'_>,
        batch: TrainingBatch<'_>,
        wanted: Option<(f32, bool, &mut [SiteGradients])>,
    ) -> f64 {
        let values = pass.tokens() * pass.config.hidden_size;
        let h = &self.inputs[pass.weights.layers.len()][..values];
        let dh = &mut self.dh;
        let wanted = wanted.map(|(factor, walks, gradients)| Wanted {
            factor,
            dh: walks.then(|| grow(dh, values)),
            gradients,
        });
        loss::nll(pass, h, (batch.rows, batch.targets), wanted, &mut self.loss)
    }

    /// Walks back from `dh` to the lowest adapter.
    fn backward(
        &mut self,
        pass: &Pass<'_>,
        checkpointing: Checkpointing,
        lowest: Lowest,
        gradients: &mut [SiteGradients],
    ) {
        let (first, stage) = match lowest {
            Lowest::Head => return,
            Lowest::Block(layer, stage) => (layer, Some(stage)),
            Lowest::Embedding => (0, None),
        };
        let values = pass.tokens() * pass.config.hidden_size;
        for layer in (first..pass.weights.layers.len()).rev() {
            let (before, after) = self.inputs.split_at_mut(layer + 1);
            let h = &before[layer][..values];
            let saved = match checkpointing {
                Checkpointing::None => &mut self.saved[layer],
                Checkpointing::Block => {
                    let saved = &mut self.saved[0];
                    pass.forward_block(layer, h, saved, &mut after[0][..values], &mut self.forward);
                    saved
                }
            };
            let until = stage.filter(|_| layer == first);
            let dh = &mut self.dh[..values];
            pass.backward_block(layer, (h, saved), dh, until, &mut self.backward, gradients);
        }
        if let Some(site) = pass.sites.embedding() {
            let scratch = self.backward.site();
            let ids = (pass.batch.ids(), pass.config.pad_token_id);
            site.embedding_backward(ids, &self.dh[..values], scratch, gradients);
        }
    }
}
