//! Adapter folders made to harm: an adapter or an error that names the file, never a panic.

#[path = "../../../gguf/tests/hostile/mutate.rs"]
mod mutate;

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use lora::{Adapter, CONFIG_FILE, LoraConfig, WEIGHTS_FILE};
use proptest::prelude::*;
use serde_json::{Value, json};

use mutate::Victim;

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/goldens/lora_step");
    fs::read(folder.join(name)).unwrap()
}

static WEIGHTS: LazyLock<Victim<'static>> = LazyLock::new(|| {
    let bytes = Vec::leak(fixture(WEIGHTS_FILE));
    let header = 8 + usize::from_le_bytes(*bytes.first_chunk().unwrap());
    let targets = [
        "shape",
        "data_offsets",
        "dtype",
        "F32",
        "layers.0",
        "layers.1",
        "lora_A",
    ];
    Victim::new(bytes, header, targets, vec![])
});

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in [CONFIG_FILE, WEIGHTS_FILE] {
        fs::write(dir.path().join(name), fixture(name)).unwrap();
    }
    dir
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn damaged_weights(seed in any::<u64>()) {
        let dir = folder();
        fs::write(dir.path().join(WEIGHTS_FILE), WEIGHTS.damaged(seed)).unwrap();
        match Adapter::load(dir.path()) {
            Ok(adapter) => assert!(adapter.layers() > 0),
            Err(error) => assert!(error.to_string().contains(WEIGHTS_FILE), "{error}"),
        }
    }
}

/// Each field of the config with each absurd value, alone.
#[test]
fn absurd_configs() {
    let dir = folder();
    let path = dir.path().join(CONFIG_FILE);
    let whole: Value = serde_json::from_slice(&fixture(CONFIG_FILE)).unwrap();
    let values = [
        json!(0),
        json!(-1),
        json!(1),
        json!(u64::MAX),
        json!(0.5),
        json!(1e308),
        json!("x"),
        json!(null),
        json!([]),
        json!({}),
        json!(true),
        json!([u64::MAX]),
        json!(["q_proj"]),
    ];
    for key in whole.as_object().unwrap().keys() {
        for value in &values {
            let mut config = whole.clone();
            config[key.as_str()] = value.clone();
            fs::write(&path, config.to_string()).unwrap();
            if let Err(error) = Adapter::load(dir.path()) {
                let text = error.to_string();
                let named = text.contains(CONFIG_FILE) || text.contains(WEIGHTS_FILE);
                assert!(named, "{key} = {value}: {text}");
            }
        }
    }
}

#[test]
fn what_is_no_file_and_what_is_too_large() {
    let dir = folder();
    fs::write(dir.path().join(CONFIG_FILE), vec![b' '; (1 << 20) + 1]).unwrap();
    let text = Adapter::load(dir.path()).unwrap_err().to_string();
    assert!(
        text.contains("it has 1048577 bytes, expected at most 1048576"),
        "{text}"
    );
    let text = LoraConfig::read(dir.path()).unwrap_err().to_string();
    assert!(text.contains("it is not a regular file"), "{text}");
}

#[test]
fn what_is_wrong_is_said_with_the_tensor() {
    let dir = folder();
    let path = dir.path().join(WEIGHTS_FILE);
    let whole = fixture(WEIGHTS_FILE);
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let text = Adapter::load(dir.path()).unwrap_err().to_string();
    let parts = [
        "adapter_model.safetensors: the file is damaged",
        "tensor `base_model",
        "of the data",
    ];
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
}
