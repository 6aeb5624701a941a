//! Names, bases and adapters that do and do not belong together, on the tiny model.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::path::{Path, PathBuf};

use loader::{DType, ModelSpec, load, open};
use lora::{Adapter, LoraConfig};
use smollm_model::{Checkpoint, ModelConfig, ModelFiles};

fn fixture(name: &str) -> String {
    format!("{}/../../fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn tiny() -> ModelConfig {
    let files = ModelFiles::Dir(fixture("tiny-model").into());
    Checkpoint::open(&files).unwrap().config().clone()
}

/// A new adapter that names `base`.
fn adapter(dir: &Path, config: &ModelConfig, base: Option<&str>) -> PathBuf {
    let mut adapter = Adapter::init(config, LoraConfig::default(), 1).unwrap();
    adapter.set_base_model(base.map(str::to_owned), None);
    adapter.save(dir).unwrap();
    dir.to_path_buf()
}

fn spec(model: &Path) -> ModelSpec {
    ModelSpec::new(&model.display().to_string())
}

fn failure(spec: &ModelSpec) -> String {
    open(spec).unwrap_err().to_string()
}

#[test]
fn a_folder_and_a_gguf_file_load() {
    for name in ["tiny-model", "tiny-model-q8_0.gguf", "tiny-model-q4_0.gguf"] {
        let opened = open(&ModelSpec::new(&fixture(name))).unwrap();
        assert!(!opened.weight_files().unwrap().is_empty());
        let stops = loader::stop_ids(opened.prompter(), opened.config(), false);
        assert_eq!(stops, [0, 2], "{name}");
        assert_eq!(
            loader::stop_ids(opened.prompter(), opened.config(), true),
            [2]
        );
        let loaded = opened.load(DType::BF16).unwrap();
        assert_eq!(loaded.model.dtype(), DType::BF16);
        assert!(loaded.adapter.is_none());
    }
}

#[test]
fn an_adapter_folder_brings_its_base() {
    let dir = tempfile::tempdir().unwrap();
    let folder = adapter(dir.path(), &tiny(), Some(&fixture("tiny-model")));
    let loaded = load(&spec(&folder)).unwrap();
    assert_eq!(loaded.base_name, fixture("tiny-model"));
    assert!(loaded.adapter.is_some());
    let q = smollm_model::Projection::Q;
    assert!(loaded.model.linear(0, q).low_rank.is_some());
}

#[test]
fn the_users_base_overrides_the_adapters() {
    let dir = tempfile::tempdir().unwrap();
    let folder = adapter(dir.path(), &tiny(), Some("./moved/away"));
    let message = failure(&spec(&folder));
    for part in ["./moved/away", "names cannot be had", "--base_model"] {
        assert!(message.contains(part), "{message}");
    }
    let base = fixture("tiny-model-q8_0.gguf");
    let told = ModelSpec {
        base_model: Some(base.clone()),
        ..spec(&folder)
    };
    assert_eq!(open(&told).unwrap().base_name(), base);
    // The adapter beside a base that is named as the model.
    let beside = ModelSpec {
        adapter_dir: Some(folder),
        ..ModelSpec::new(&base)
    };
    assert!(open(&beside).unwrap().adapter().is_some());
}

#[test]
fn an_adapter_for_another_model_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let wider = ModelConfig {
        hidden_size: 192,
        ..tiny()
    };
    let folder = adapter(dir.path(), &wider, Some(&fixture("tiny-model")));
    let message = failure(&spec(&folder));
    assert!(message.contains("does not fit base model"), "{message}");
    assert!(
        message.contains("lora_A") || message.contains("lora_B"),
        "{message}"
    );
}

#[test]
fn contradictions_are_usage_errors() {
    let dir = tempfile::tempdir().unwrap();
    let folder = adapter(&dir.path().join("a"), &tiny(), None);
    let error = open(&spec(&folder)).unwrap_err();
    assert!(
        error.is_usage() && error.to_string().contains("--base_model"),
        "{error}"
    );
    let other = adapter(&dir.path().join("b"), &tiny(), None);
    let two = ModelSpec {
        adapter_dir: Some(other),
        ..spec(&folder)
    };
    assert!(failure(&two).contains("two adapters"));
    let model = fixture("tiny-model");
    let two = ModelSpec {
        base_model: Some("owner/name".into()),
        ..ModelSpec::new(&model)
    };
    assert!(failure(&two).contains("two models"));
    let none = ModelSpec {
        adapter_dir: Some(dir.path().into()),
        ..ModelSpec::new(&model)
    };
    assert!(failure(&none).contains("no adapter_config.json"));
    assert!(failure(&ModelSpec::new("./nowhere")).contains("no such file or folder"));
    assert!(failure(&spec(dir.path())).contains("there is no config.json"));
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture("tiny-model")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    let path = dir.path().join("tokenizer.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["model"]["vocab"]["one-too-many"] = 1_000_000.into();
    std::fs::write(&path, json.to_string()).unwrap();
    let message = failure(&spec(dir.path()));
    assert!(
        message.contains("1000000") && message.contains("1237"),
        "{message}"
    );
}
