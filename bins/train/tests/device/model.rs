//! A model that nobody trained, with the tiny model's tokenizer.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::fixture;

const HIDDEN: usize = 64;
const FFN: usize = 96;
const LAYERS: usize = 2;
const HEADS: usize = 2;

/// Writes the model's folder: two query heads of `head_dim` over one key-value head.
pub(crate) fn write(folder: &Path, head_dim: usize) {
    fs::create_dir(folder).unwrap();
    for name in [
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
    ] {
        fs::copy(fixture("tiny-model").join(name), folder.join(name)).unwrap();
    }
    let config = fs::read(fixture("tiny-model/config.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&config).unwrap();
    for (name, value) in [
        ("hidden_size", HIDDEN),
        ("intermediate_size", FFN),
        ("num_hidden_layers", LAYERS),
        ("num_attention_heads", HEADS),
        ("num_key_value_heads", 1),
        ("head_dim", head_dim),
    ] {
        config[name] = value.into();
    }
    let vocab = config["vocab_size"].as_u64().unwrap() as usize;
    fs::write(folder.join("config.json"), config.to_string()).unwrap();

    let mut file = Tensors::default();
    file.add("model.embed_tokens", &[vocab, HIDDEN]);
    file.add("model.norm", &[HIDDEN]);
    for layer in 0..LAYERS {
        let mut add =
            |name: &str, shape: &[usize]| file.add(&format!("model.layers.{layer}.{name}"), shape);
        let query = HEADS * head_dim;
        add("input_layernorm", &[HIDDEN]);
        add("post_attention_layernorm", &[HIDDEN]);
        add("self_attn.q_proj", &[query, HIDDEN]);
        add("self_attn.k_proj", &[head_dim, HIDDEN]);
        add("self_attn.v_proj", &[head_dim, HIDDEN]);
        add("self_attn.o_proj", &[HIDDEN, query]);
        add("mlp.gate_proj", &[FFN, HIDDEN]);
        add("mlp.up_proj", &[FFN, HIDDEN]);
        add("mlp.down_proj", &[HIDDEN, FFN]);
    }
    file.write(&folder.join("model.safetensors"));
}

/// A safetensors file of f32.
#[derive(Default)]
struct Tensors {
    header: Map<String, Value>,
    data: Vec<u8>,
    state: u64,
}

impl Tensors {
    /// Norms are near 1, matrices near 0; all are whole numbers of 1/64, which bf16 has.
    fn add(&mut self, name: &str, shape: &[usize]) {
        let begin = self.data.len();
        let around = if shape.len() == 1 { 1.0 } else { 0.0 };
        for _ in 0..shape.iter().product::<usize>() {
            self.state = self.state.wrapping_mul(6_364_136_223_846_793_005);
            self.state = self.state.wrapping_add(1_442_695_040_888_963_407);
            let step = (self.state >> 59) as f32 - 15.5;
            let value = around + step.trunc() / 64.0;
            self.data.extend(value.to_le_bytes());
        }
        let place =
            json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, self.data.len()]});
        self.header.insert(format!("{name}.weight"), place);
    }

    fn write(&self, path: &Path) {
        let header = Value::Object(self.header.clone()).to_string();
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend(&self.data);
        fs::write(path, file).unwrap();
    }
}
