//! Any bytes as the weights of a small model whose configuration is whole: an error that names the
//! file, or a model of which every tensor loads. The header check lets nothing pass that the
//! `safetensors` crate panics on.
//! `cargo +nightly fuzz run safetensors` in `crates/smollm-model`.
#![no_main]

use std::fs;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use smollm_model::{Checkpoint, DType, Device, Llama, ModelFiles};
use tempfile::TempDir;

/// One layer of one head: its tensors have a few hundred bytes.
const CONFIG: &str = r#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 2,
    "intermediate_size": 2, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 3}"#;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), CONFIG).unwrap();
    folder
});

fuzz_target!(|bytes: &[u8]| {
    fs::write(FOLDER.path().join("model.safetensors"), bytes).unwrap();
    match Checkpoint::open(&ModelFiles::Dir(FOLDER.path().into())) {
        Err(error) => assert!(error.to_string().contains("model.safetensors")),
        Ok(open) => {
            Llama::load(&open, DType::F32, &Device::Cpu).unwrap();
        }
    }
});
