//! A model that nobody trained: random weights in a temporary folder.

use std::collections::HashMap;

use smollm_model::{Checkpoint, DType, Device, ModelSource, Tensor};

use crate::support::values;

/// What differs from one test to another.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) head_dim: usize,
    pub(crate) tied: bool,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            head_dim: 64,
            tied: true,
        }
    }
}

const HIDDEN: usize = 72;
const FFN: usize = 104;
const VOCAB: usize = 333;
const HEADS: usize = 3;
const LAYERS: usize = 2;

/// Two layers, three query heads over one key-value head, a vocabulary that is no multiple of anything.
pub(crate) fn checkpoint(sizes: Sizes) -> Checkpoint {
    let folder = tempfile::tempdir().unwrap();
    let query = HEADS * sizes.head_dim;
    let mut tensors = HashMap::new();
    let mut add = |name: String, shape: &[usize], size: f32, around: f32| {
        let key = 1000 + tensors.len() as u64;
        let n = shape.iter().product();
        let values: Vec<f32> = values(n, key).iter().map(|x| around + size * x).collect();
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
        tensors.insert(name, tensor.to_dtype(DType::BF16).unwrap());
    };
    add(
        "model.embed_tokens.weight".into(),
        &[VOCAB, HIDDEN],
        0.5,
        0.0,
    );
    if !sizes.tied {
        add("lm_head.weight".into(), &[VOCAB, HIDDEN], 0.5, 0.0);
    }
    add("model.norm.weight".into(), &[HIDDEN], 0.3, 1.0);
    for layer in 0..LAYERS {
        let mut of_block = |name: &str, shape: &[usize], size, around| {
            add(
                format!("model.layers.{layer}.{name}.weight"),
                shape,
                size,
                around,
            );
        };
        of_block("input_layernorm", &[HIDDEN], 0.3, 1.0);
        of_block("post_attention_layernorm", &[HIDDEN], 0.3, 1.0);
        of_block("self_attn.q_proj", &[query, HIDDEN], 0.2, 0.0);
        of_block("self_attn.k_proj", &[sizes.head_dim, HIDDEN], 0.2, 0.0);
        of_block("self_attn.v_proj", &[sizes.head_dim, HIDDEN], 0.2, 0.0);
        of_block("self_attn.o_proj", &[HIDDEN, query], 0.1, 0.0);
        of_block("mlp.gate_proj", &[FFN, HIDDEN], 0.2, 0.0);
        of_block("mlp.up_proj", &[FFN, HIDDEN], 0.2, 0.0);
        of_block("mlp.down_proj", &[HIDDEN, FFN], 0.15, 0.0);
    }
    let path = folder.path().join("model.safetensors");
    candle_core::safetensors::save(&tensors, path).unwrap();
    let config = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": HIDDEN, "intermediate_size": FFN, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": 1, "head_dim": sizes.head_dim,
        "vocab_size": VOCAB, "max_position_embeddings": 128, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "tie_word_embeddings": sizes.tied, "bos_token_id": 1,
        "eos_token_id": 2, "torch_dtype": "bfloat16",
    });
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let name = folder.path().to_str().unwrap();
    let files = ModelSource::parse(name).unwrap().resolve().unwrap();
    // The weights are mapped: the folder may go.
    Checkpoint::open(&files).unwrap()
}
