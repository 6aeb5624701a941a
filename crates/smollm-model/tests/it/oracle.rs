//! candle's own Llama as a second opinion on the same weights.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama::{Cache, Config, Llama as Oracle};

use crate::{golden, ids, logits, tiny};

#[test]
fn logits_equal_candles_llama() {
    let model = tiny();
    let c = model.config();
    let config = Config {
        hidden_size: c.hidden_size,
        intermediate_size: c.intermediate_size,
        vocab_size: c.vocab_size,
        num_hidden_layers: c.num_hidden_layers,
        num_attention_heads: c.num_attention_heads,
        num_key_value_heads: c.num_key_value_heads,
        use_flash_attn: false,
        rms_norm_eps: c.rms_norm_eps,
        rope_theta: c.rope_theta as f32,
        bos_token_id: c.bos_token_id,
        eos_token_id: None,
        rope_scaling: None,
        max_position_embeddings: c.max_position_embeddings,
        tie_word_embeddings: c.tie_word_embeddings,
    };
    let weights: HashMap<String, Tensor> = model
        .named_weights()
        .into_iter()
        .map(|(name, t)| (name, t.clone()))
        .collect();
    let oracle = Oracle::load(
        VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu),
        &config,
    )
    .unwrap();
    for prompt in golden("logits.json")["prompts"].as_array().unwrap() {
        let ids = ids(&prompt["ids"]);
        let mut cache = Cache::new(false, DType::F32, &config, &Device::Cpu).unwrap();
        let input = Tensor::new(ids.as_slice(), &Device::Cpu)
            .unwrap()
            .unsqueeze(0)
            .unwrap();
        let expected = oracle
            .forward(&input, 0, &mut cache)
            .unwrap()
            .get(0)
            .unwrap();
        let found = logits(&model, &ids).get(ids.len() - 1).unwrap();
        let worst = crate::largest_difference(&found, &expected);
        assert!(worst < 5e-5, "{}: {worst:e}", prompt["name"]);
    }
}
