//! Any bytes as a GGUF file: an error, or a model of which every tensor loads.
//! `cargo +nightly fuzz run gguf` in `crates/smollm-model`.
#![no_main]

use std::fs;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use smollm_model::{Checkpoint, DType, Device, Llama, ModelFiles};
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

fuzz_target!(|bytes: &[u8]| {
    let path = FOLDER.path().join("model.gguf");
    fs::write(&path, bytes).unwrap();
    match Checkpoint::open(&ModelFiles::Gguf(path)) {
        Err(error) => assert!(error.to_string().contains("model.gguf")),
        Ok(open) => {
            Llama::load(&open, DType::F32, &Device::Cpu).unwrap();
        }
    }
});
