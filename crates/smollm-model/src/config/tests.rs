use std::path::Path;

use serde_json::{Value, json};

use super::ModelConfig;

/// The `config.json` of SmolLM2-135M-Instruct, what matters of it.
fn smollm() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "attention_bias": false, "bos_token_id": 1,
        "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 576, "intermediate_size": 1536,
        "max_position_embeddings": 8192, "mlp_bias": false, "model_type": "llama",
        "num_attention_heads": 9, "num_hidden_layers": 30, "num_key_value_heads": 3,
        "rms_norm_eps": 1e-5, "rope_scaling": null, "rope_theta": 100_000,
        "tie_word_embeddings": true, "torch_dtype": "bfloat16", "vocab_size": 49152
    })
}

fn read(dir: &Path, config: &Value) -> Result<ModelConfig, String> {
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    ModelConfig::from_dir(dir).map_err(|e| e.to_string())
}

#[test]
fn sizes_come_from_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let config = read(dir.path(), &smollm()).unwrap();
    assert_eq!(config.head_dim, 64);
    assert_eq!((config.query_width(), config.key_value_width()), (576, 192));
    assert_eq!((config.rope_theta, config.rms_norm_eps), (100_000.0, 1e-5));
    assert_eq!(
        (config.bos_token_id, config.eos_token_ids.as_slice()),
        (Some(1), &[2][..])
    );
    assert_eq!(
        read(dir.path(), &config.to_hf_json("float32")).unwrap(),
        config
    );
}

#[test]
fn end_tokens_are_joined_and_rope_parameters_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let generation = json!({"eos_token_id": [0, 2]});
    std::fs::write(
        dir.path().join("generation_config.json"),
        generation.to_string(),
    )
    .unwrap();
    let mut config = smollm();
    let keys = config.as_object_mut().unwrap();
    keys.remove("rope_theta");
    keys.remove("rope_scaling");
    keys.insert(
        "rope_parameters".to_owned(),
        json!({"rope_theta": 130_000.0, "rope_type": "default"}),
    );
    let config = read(dir.path(), &config).unwrap();
    assert_eq!(config.eos_token_ids, [0, 2]);
    assert_eq!(config.rope_theta, 130_000.0);
}

#[test]
fn what_is_not_implemented_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let cases = [
        (
            "architectures",
            json!(["Qwen2ForCausalLM"]),
            "LlamaForCausalLM",
        ),
        ("model_type", json!("mistral"), "\"llama\""),
        ("hidden_act", json!("gelu"), "silu"),
        ("attention_bias", json!(true), "biases"),
        ("mlp_bias", json!(true), "biases"),
        (
            "rope_scaling",
            json!({"rope_type": "llama3", "factor": 8}),
            "scaled RoPE",
        ),
        (
            "rope_parameters",
            json!({"rope_type": "yarn"}),
            "scaled RoPE",
        ),
        (
            "quantization_config",
            json!({"quant_method": "gptq"}),
            "unquantised",
        ),
        ("num_key_value_heads", json!(2), "divisor of the 9"),
        ("num_attention_heads", json!(7), "multiple of the 7"),
        ("num_attention_heads", json!(0), "multiple of the 0"),
        ("head_dim", json!(63), "even"),
        ("hidden_size", json!(-1), "whole number"),
        ("hidden_size", json!("576"), "whole number"),
        ("vocab_size", json!(1_u64 << 40), "1 to"),
        ("rms_norm_eps", json!(0), "from 1.1754944e-38 to 1e0"),
        ("rms_norm_eps", json!(-1e-5), "from"),
        ("rms_norm_eps", json!(1e-60), "from"),
        ("rms_norm_eps", json!(1e60), "from"),
        ("rope_theta", json!(0), "from 1e0 to"),
        ("rope_theta", json!(-1), "from"),
        ("rope_theta", json!(1e300), "from"),
        ("num_hidden_layers", json!(4_294_967_295_u32), "1 to"),
        ("num_hidden_layers", json!(0), "1 to"),
        ("vocab_size", json!(0), "1 to"),
        ("head_dim", json!(0), "1 to"),
        ("hidden_size", json!(9_u64 << 40), "1 to"),
        ("hidden_size", json!(u64::MAX), "multiple of the 9"),
        ("max_position_embeddings", json!(0), "1 to"),
        ("eos_token_id", json!(49152), "below"),
        ("eos_token_id", json!("</s>"), "token id"),
        ("intermediate_size", Value::Null, "whole number"),
    ];
    for (key, value, hint) in cases {
        let mut config = smollm();
        config[key] = value;
        let message = read(dir.path(), &config).unwrap_err();
        assert!(
            message.contains("config.json") && message.contains(hint),
            "{key}: {message}"
        );
    }
    std::fs::write(dir.path().join("config.json"), "[1").unwrap();
    let message = ModelConfig::from_dir(dir.path()).unwrap_err().to_string();
    assert!(message.contains("not a JSON object"), "{message}");
}
