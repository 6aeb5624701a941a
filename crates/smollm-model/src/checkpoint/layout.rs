//! The tensors of a Llama model: names, shapes, and what GGUF calls them.

use crate::ModelConfig;

/// Name of the output projection; absent where it is tied to the embedding.
pub(super) const LM_HEAD: &str = "lm_head.weight";

const EMBEDDING: &str = "model.embed_tokens.weight";
const FINAL_NORM: &str = "model.norm.weight";

/// Hugging Face and GGUF names of the tensors of one block, without prefix.
const BLOCK: [(&str, &str); 9] = [
    ("input_layernorm.weight", "attn_norm.weight"),
    ("self_attn.q_proj.weight", "attn_q.weight"),
    ("self_attn.k_proj.weight", "attn_k.weight"),
    ("self_attn.v_proj.weight", "attn_v.weight"),
    ("self_attn.o_proj.weight", "attn_output.weight"),
    ("post_attention_layernorm.weight", "ffn_norm.weight"),
    ("mlp.gate_proj.weight", "ffn_gate.weight"),
    ("mlp.up_proj.weight", "ffn_up.weight"),
    ("mlp.down_proj.weight", "ffn_down.weight"),
];

const WHOLE: [(&str, &str); 3] = [
    (EMBEDDING, "token_embd.weight"),
    (FINAL_NORM, "output_norm.weight"),
    (LM_HEAD, "output.weight"),
];

/// Every tensor of a model with this configuration, by Hugging Face name, with its shape
/// (`[out, in]` for a projection).
///
/// One after the other: a configuration that claims a hundred million layers is found out by the
/// first of them that is not there, without a list of them all.
pub(super) fn tensor_shapes(
    config: &ModelConfig,
) -> impl Iterator<Item = (String, Vec<usize>)> + use<> {
    let (hidden, ffn) = (config.hidden_size, config.intermediate_size);
    let (query, key_value) = (config.query_width(), config.key_value_width());
    let shape = move |name: &str| match name {
        "self_attn.q_proj.weight" => vec![query, hidden],
        "self_attn.k_proj.weight" | "self_attn.v_proj.weight" => vec![key_value, hidden],
        "self_attn.o_proj.weight" => vec![hidden, query],
        "mlp.gate_proj.weight" | "mlp.up_proj.weight" => vec![ffn, hidden],
        "mlp.down_proj.weight" => vec![hidden, ffn],
        _ => vec![hidden],
    };
    let table = vec![config.vocab_size, hidden];
    let head = (!config.tie_word_embeddings).then(|| (LM_HEAD.to_owned(), table.clone()));
    let blocks = (0..config.num_hidden_layers).flat_map(move |layer| {
        BLOCK.map(|(name, _)| (format!("model.layers.{layer}.{name}"), shape(name)))
    });
    [
        (EMBEDDING.to_owned(), table),
        (FINAL_NORM.to_owned(), vec![hidden]),
    ]
    .into_iter()
    .chain(head)
    .chain(blocks)
}

/// The GGUF name of a tensor with this Hugging Face name.
pub(super) fn gguf_name(hf: &str) -> Option<String> {
    if let Some((_, name)) = WHOLE.iter().find(|(name, _)| *name == hf) {
        return Some((*name).to_owned());
    }
    let (layer, rest) = hf.strip_prefix("model.layers.")?.split_once('.')?;
    let (_, name) = BLOCK.iter().find(|(name, _)| *name == rest)?;
    Some(format!("blk.{layer}.{name}"))
}

/// The heads by which llama.cpp permutes the rows of a tensor, given by its GGUF name: those of q
/// and of k have such an order.
pub(super) fn permuted_heads(gguf: &str, config: &ModelConfig) -> Option<usize> {
    match gguf.rsplit_once(".attn_") {
        Some((_, "q.weight")) => Some(config.num_attention_heads),
        Some((_, "k.weight")) => Some(config.num_key_value_heads),
        _ => None,
    }
}

/// The Hugging Face name of a tensor with this GGUF name.
pub(super) fn hf_name(gguf: &str) -> Option<String> {
    if let Some((name, _)) = WHOLE.iter().find(|(_, name)| *name == gguf) {
        return Some((*name).to_owned());
    }
    let (layer, rest) = gguf.strip_prefix("blk.")?.split_once('.')?;
    let (name, _) = BLOCK.iter().find(|(_, name)| *name == rest)?;
    Some(format!("model.layers.{layer}.{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_map_both_ways() {
        let cases = [
            ("model.embed_tokens.weight", "token_embd.weight"),
            ("lm_head.weight", "output.weight"),
            (
                "model.layers.11.self_attn.o_proj.weight",
                "blk.11.attn_output.weight",
            ),
            (
                "model.layers.0.post_attention_layernorm.weight",
                "blk.0.ffn_norm.weight",
            ),
        ];
        for (hf, gguf) in cases {
            assert_eq!(gguf_name(hf).as_deref(), Some(gguf));
            assert_eq!(hf_name(gguf).as_deref(), Some(hf));
        }
        assert_eq!(hf_name("rope_freqs.weight"), None);
        assert_eq!(gguf_name("model.layers.0.self_attn.q_proj.bias"), None);
    }
}
