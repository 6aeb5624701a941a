//! What a batch takes on the device, from sizes alone. The same buffers as in the passes, one by one.

use super::loss::CHUNK;
use crate::cuda::args::LoraGradient;
use crate::cuda::low_rank::RANKS;
use crate::cuda::weights::Weights;
use crate::cuda::{Element, WORD, logits_stride};
use crate::{BatchShape, Checkpointing, ModelConfig, SiteShape, TrainingMemory};

/// A model and its adapters, without their numbers.
pub(super) struct MemoryPlan<'a> {
    pub(super) config: &'a ModelConfig,
    pub(super) element: Element,
    pub(super) checkpointing: Checkpointing,
    pub(super) sites: &'a [SiteShape],
}

impl MemoryPlan<'_> {
    pub(super) fn memory(&self, batch: BatchShape) -> TrainingMemory {
        let (config, supervised) = (self.config, batch.supervised);
        let rope = config.max_position_embeddings * config.head_dim * WORD;
        let stream = config.hidden_size * self.element.bytes();
        let rows = batch.supervised * (stream + 3 * WORD);
        TrainingMemory {
            weights: Weights::bytes(config, self.element) + rope,
            activations: batch.tokens * self.token() + rows + self.partial_sums(batch.tokens),
            logits: self.chunk(supervised.min(CHUNK)),
            adapter: self.adapters(),
        }
    }

    /// Bytes of a token: what blocks keep and share, the gradient of the stream, ids.
    fn token(&self) -> usize {
        let (config, bytes) = (self.config, self.element.bytes());
        let (hidden, ffn) = (config.hidden_size, config.intermediate_size);
        let (query, heads) = (config.query_width(), config.num_attention_heads);
        let qkv = query + 2 * config.key_value_width();
        let kept = (qkv + query + hidden + 2 * ffn) * bytes + (heads + 2) * WORD;
        let forward = (2 * hidden + ffn) * bytes;
        let backward = (ffn + hidden + query + qkv) * bytes + heads * WORD;
        let inputs = config.num_hidden_layers * hidden * bytes;
        let ids = 3 * WORD;
        inputs + self.kept_blocks() * kept + forward + backward + hidden * bytes + ids + self.u()
    }

    fn kept_blocks(&self) -> usize {
        match self.checkpointing {
            Checkpointing::None => self.config.num_hidden_layers,
            Checkpointing::Block => 1,
        }
    }

    /// Bytes of a token's `U`, kept, and the gradient of one.
    fn u(&self) -> usize {
        let mut of_layer = vec![0; self.config.num_hidden_layers];
        for site in self.sites {
            if let Some(sum) = of_layer.get_mut(site.layer) {
                *sum += rank(site);
            }
        }
        let kept: usize = match self.checkpointing {
            Checkpointing::None => of_layer.iter().sum(),
            Checkpointing::Block => of_layer.iter().copied().max().unwrap_or(0),
        };
        let widest = self.sites.iter().map(rank).max().unwrap_or(0);
        (kept + widest) * WORD
    }

    /// Bytes of the sums over pieces of the tokens that an adapter's gradient is added up from.
    fn partial_sums(&self, tokens: usize) -> usize {
        let of_site = |site: &SiteShape| {
            let (out, inputs) = site.projection.dims(self.config);
            rank(site) * out.max(inputs)
        };
        let most = self.sites.iter().map(of_site).max().unwrap_or(0);
        LoraGradient::pieces(tokens as u32) as usize * most * WORD
    }

    /// Bytes of a chunk of the loss.
    fn chunk(&self, rows: usize) -> usize {
        let bytes = self.element.bytes();
        let logits = logits_stride(self.config.vocab_size) * bytes;
        rows * (logits + 5 * self.config.hidden_size * bytes + WORD)
    }

    /// Bytes of values, gradients and streams of random numbers.
    fn adapters(&self) -> usize {
        let of_site = |site: &SiteShape| {
            let (out, inputs) = site.projection.dims(self.config);
            2 * rank(site) * (out + inputs) * WORD + size_of::<u64>()
        };
        self.sites.iter().map(of_site).sum()
    }
}

/// As it lies on the device.
fn rank(site: &SiteShape) -> usize {
    site.rank.next_multiple_of(RANKS)
}
