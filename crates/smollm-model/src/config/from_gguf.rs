//! The `llama.*` keys of GGUF metadata.

use std::path::PathBuf;

use gguf::GgufFile;

use super::{ModelConfig, Place, default_head_dim};
use crate::ModelError;

/// See [`ModelConfig::from_gguf`].
pub(super) fn read(file: &GgufFile) -> Result<ModelConfig, ModelError> {
    let place = Place {
        path: file
            .path()
            .map_or_else(|| PathBuf::from("GGUF metadata"), PathBuf::from),
        rename: &gguf_key,
    };
    refuse_what_is_not_implemented(file, &place)?;
    let size = |key: &str| file.u32(key).map(|n| n as usize);
    let opt_size = |key: &str| file.opt_u32(key).map(|n| n.map(|n| n as usize));
    let hidden_size = size("llama.embedding_length")?;
    let num_attention_heads = size("llama.attention.head_count")?;
    let head_dim = match opt_size("llama.attention.key_length")? {
        Some(width) => width,
        None => default_head_dim(hidden_size, num_attention_heads, &place)?,
    };
    for key in ["llama.attention.value_length", "llama.rope.dimension_count"] {
        if let Some(found) = opt_size(key)?.filter(|found| *found != head_dim) {
            return Err(place.wrong(key, found, format!("the head width {head_dim}")));
        }
    }
    let vocab_size = match opt_size("llama.vocab_size")? {
        Some(n) => n,
        None => file.str_array("tokenizer.ggml.tokens")?.len(),
    };
    let config = ModelConfig {
        hidden_size,
        intermediate_size: size("llama.feed_forward_length")?,
        num_hidden_layers: size("llama.block_count")?,
        num_attention_heads,
        num_key_value_heads: opt_size("llama.attention.head_count_kv")?
            .unwrap_or(num_attention_heads),
        head_dim,
        vocab_size,
        max_position_embeddings: size("llama.context_length")?,
        rms_norm_eps: widen(file.f32("llama.attention.layer_norm_rms_epsilon")?),
        rope_theta: file
            .opt_f32("llama.rope.freq_base")?
            .map_or(10_000.0, widen),
        tie_word_embeddings: file.tensor("output.weight").is_none(),
        bos_token_id: file.opt_u32("tokenizer.ggml.bos_token_id")?,
        eos_token_ids: file
            .opt_u32("tokenizer.ggml.eos_token_id")?
            .into_iter()
            .collect(),
        pad_token_id: file.opt_u32("tokenizer.ggml.padding_token_id")?,
    };
    config.checked(&place)
}

fn refuse_what_is_not_implemented(file: &GgufFile, place: &Place<'_>) -> Result<(), ModelError> {
    let architecture = file.str("general.architecture")?;
    if architecture != "llama" {
        let found = format!("\"{architecture}\"");
        let expected = "\"llama\", the only architecture supported".into();
        return Err(place.wrong("general.architecture", found, expected));
    }
    if let Some(kind) = file.opt_str("llama.rope.scaling.type")?
        && kind != "none"
    {
        let expected = "absent or \"none\": scaled RoPE is not supported".into();
        return Err(place.wrong("llama.rope.scaling.type", format!("\"{kind}\""), expected));
    }
    // Llama 3's frequency factors come as a tensor instead of a key.
    if file.tensor("rope_freqs.weight").is_some() {
        let expected = "absent: scaled RoPE is not supported".into();
        return Err(place.wrong("rope_freqs.weight", "present", expected));
    }
    Ok(())
}

/// What a field is called in GGUF metadata.
fn gguf_key(key: &str) -> String {
    let key = match key {
        "hidden_size" => "llama.embedding_length",
        "intermediate_size" => "llama.feed_forward_length",
        "num_hidden_layers" => "llama.block_count",
        "num_attention_heads" => "llama.attention.head_count",
        "num_key_value_heads" => "llama.attention.head_count_kv",
        "head_dim" => "llama.attention.key_length",
        "vocab_size" => "llama.vocab_size",
        "max_position_embeddings" => "llama.context_length",
        "rms_norm_eps" => "llama.attention.layer_norm_rms_epsilon",
        "rope_theta" => "llama.rope.freq_base",
        "bos_token_id or eos_token_id" => "tokenizer.ggml.bos_token_id or eos_token_id",
        other => other,
    };
    key.to_owned()
}

/// The f64 whose shortest decimal is that of the stored f32: 1e-5 was rounded to f32 when the file
/// was written, and `f64::from` would keep the rounding error that `config.json` does not have.
fn widen(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}
