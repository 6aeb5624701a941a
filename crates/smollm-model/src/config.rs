//! A model's sizes and constants, read from the model itself.
//!
//! There is no table of known models here: `config.json` or the GGUF metadata say everything, and
//! what this crate does not implement (scaled RoPE, biases, other activations) is refused by name
//! instead of computed wrongly.

mod from_gguf;
mod from_hf;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::ModelError;

/// Sizes and constants of a Llama-architecture model; fields are named as in `config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the `SwiGLU` layer.
    pub intermediate_size: usize,
    /// Number of decoder blocks.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; divides the query heads.
    pub num_key_value_heads: usize,
    /// Width of one head; even, since RoPE turns its two halves against each other.
    pub head_dim: usize,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Positions the model was trained for.
    pub max_position_embeddings: usize,
    /// Added to the mean square in RMSNorm.
    pub rms_norm_eps: f64,
    /// Base of the RoPE frequencies.
    pub rope_theta: f64,
    /// Whether the output projection is the embedding.
    pub tie_word_embeddings: bool,
    /// Token a sequence starts with, if the model says so.
    pub bos_token_id: Option<u32>,
    /// Tokens that end an answer, those of `generation_config.json` first; may be empty.
    pub eos_token_ids: Vec<u32>,
    /// Token that fills rows up, if the model says so. Here no row is filled up; but as in transformers, where it is the
    /// embedding's `padding_idx`, the embedding of this token never learns.
    pub pad_token_id: Option<u32>,
}

impl ModelConfig {
    /// Reads `config.json` (and `generation_config.json`, if there) of a model folder.
    ///
    /// # Errors
    /// If a file cannot be read, is not JSON, lacks a size, or asks for something that is not
    /// implemented: the message names the key, the value and what would do.
    pub fn from_dir(dir: &Path) -> Result<Self, ModelError> {
        from_hf::read(dir)
    }

    /// Reads the `llama.*` keys of a GGUF file's metadata.
    ///
    /// # Errors
    /// As [`ModelConfig::from_dir`]; also for another `general.architecture`.
    pub fn from_gguf(file: &gguf::GgufFile) -> Result<Self, ModelError> {
        from_gguf::read(file)
    }

    /// Width of all query heads together: the input width of `o_proj`.
    pub fn query_width(&self) -> usize {
        self.num_attention_heads * self.head_dim
    }

    /// Width of all key (or value) heads together.
    pub fn key_value_width(&self) -> usize {
        self.num_key_value_heads * self.head_dim
    }

    /// This configuration as the `config.json` that transformers writes for a Llama model whose
    /// weights are stored as `torch_dtype` (`float32` or `bfloat16`).
    pub fn to_hf_json(&self, torch_dtype: &str) -> Value {
        let eos = match self.eos_token_ids.as_slice() {
            [] => Value::Null,
            [one] => json!(one),
            many => json!(many),
        };
        json!({
            "architectures": ["LlamaForCausalLM"],
            "attention_bias": false,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": eos,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "max_position_embeddings": self.max_position_embeddings,
            "mlp_bias": false,
            "model_type": "llama",
            "num_attention_heads": self.num_attention_heads,
            "num_hidden_layers": self.num_hidden_layers,
            "num_key_value_heads": self.num_key_value_heads,
            "pad_token_id": self.pad_token_id,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_scaling": null,
            "rope_theta": self.rope_theta,
            "tie_word_embeddings": self.tie_word_embeddings,
            "torch_dtype": torch_dtype,
            "vocab_size": self.vocab_size,
        })
    }

    /// Refuses what cannot be: `place` turns a problem into an error that names the file.
    fn checked(self, place: &Place<'_>) -> Result<Self, ModelError> {
        let sizes = [
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("vocab_size", self.vocab_size),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        // The limit keeps every product of two sizes far inside usize.
        for (key, size) in sizes {
            if size == 0 || size > MAX_SIZE {
                return Err(place.wrong(key, size, format!("1 to {MAX_SIZE}")));
            }
        }
        let (heads, kv) = (self.num_attention_heads, self.num_key_value_heads);
        if !heads.is_multiple_of(kv) {
            return Err(place.wrong(
                "num_key_value_heads",
                kv,
                format!("a divisor of the {heads} attention heads"),
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(place.wrong("head_dim", self.head_dim, "an even number".into()));
        }
        // Both meet f32 numbers: a zero or an infinity there would make every result NaN.
        for (key, value, range) in [
            ("rms_norm_eps", self.rms_norm_eps, f32::MIN_POSITIVE..=1.0),
            ("rope_theta", self.rope_theta, 1.0..=f32::MAX),
        ] {
            if !range.contains(&(value as f32)) {
                let expected = format!("a number from {:e} to {:e}", range.start(), range.end());
                return Err(place.wrong(key, value, expected));
            }
        }
        let ids = self.bos_token_id.iter().chain(&self.eos_token_ids);
        if let Some(id) = ids.into_iter().find(|id| **id as usize >= self.vocab_size) {
            let expected = format!("below the vocabulary's {}", self.vocab_size);
            return Err(place.wrong("bos_token_id or eos_token_id", id, expected));
        }
        Ok(self)
    }
}

/// Larger than any size of a real model, small enough that products of two cannot overflow.
const MAX_SIZE: usize = 1 << 28;

/// Where a configuration came from, and what its keys are called there.
struct Place<'a> {
    path: PathBuf,
    rename: &'a dyn Fn(&str) -> String,
}

impl Place<'_> {
    fn wrong(&self, key: &str, found: impl std::fmt::Display, expected: String) -> ModelError {
        ModelError::Config {
            path: self.path.clone(),
            key: (self.rename)(key),
            found: found.to_string(),
            expected,
        }
    }
}

/// `head_dim` where the model does not say it: the hidden width shared out among the heads.
fn default_head_dim(hidden: usize, heads: usize, place: &Place<'_>) -> Result<usize, ModelError> {
    if heads == 0 || !hidden.is_multiple_of(heads) {
        let expected = format!("a multiple of the {heads} attention heads");
        return Err(place.wrong("hidden_size", hidden, expected));
    }
    Ok(hidden / heads)
}

#[cfg(test)]
mod tests;
