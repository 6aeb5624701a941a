//! Adapter folders: round trips, damage, and adapters that belong elsewhere.

use candle_core::{DType, Device, Tensor};
use lora::{Adapter, LoraConfig, LoraError, TargetModules, WEIGHTS_FILE};
use safetensors::tensor::{Dtype, TensorView};
use smollm_model::ModelConfig;
use std::collections::BTreeMap;
use std::path::Path;

fn model() -> ModelConfig {
    ModelConfig {
        hidden_size: 96,
        intermediate_size: 160,
        num_hidden_layers: 12,
        num_attention_heads: 3,
        num_key_value_heads: 1,
        head_dim: 32,
        vocab_size: 100,
        max_position_embeddings: 64,
        rms_norm_eps: 1e-5,
        rope_theta: 1e5,
        tie_word_embeddings: true,
        bos_token_id: None,
        eos_token_ids: vec![2],
        pad_token_id: None,
    }
}

fn config() -> LoraConfig {
    LoraConfig {
        r: 4,
        target_modules: TargetModules::all_linear(),
        ..LoraConfig::default()
    }
}

fn saved() -> (tempfile::TempDir, Adapter) {
    let dir = tempfile::tempdir().unwrap();
    let adapter = Adapter::init(&model(), config(), 1).unwrap();
    adapter.save(dir.path()).unwrap();
    (dir, adapter)
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Name, type, shape, bytes of every tensor.
type Raw = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// Reads the weights file with another reader than ours, changes it, writes it back.
fn edit(dir: &Path, change: impl FnOnce(&mut Raw)) {
    let path = dir.join(WEIGHTS_FILE);
    let bytes = std::fs::read(&path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut raw: Raw = file
        .iter()
        .map(|(n, v)| {
            (
                n.to_string(),
                (v.dtype(), v.shape().to_vec(), v.data().to_vec()),
            )
        })
        .collect();
    change(&mut raw);
    let views = raw
        .iter()
        .map(|(n, (d, s, b))| (n.as_str(), TensorView::new(*d, s.clone(), b).unwrap()));
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

const NAME: &str = "base_model.model.model.layers.10.mlp.down_proj.lora_B.weight";

#[test]
fn a_round_trip_keeps_every_bit_and_writes_the_same_bytes() {
    let (dir, adapter) = saved();
    let again = Adapter::load(dir.path()).unwrap();
    assert_eq!(again.config(), adapter.config());
    for (name, tensor) in adapter.tensors() {
        assert_eq!(values(tensor), values(again.tensors()[&name]), "{name}");
    }
    let other = tempfile::tempdir().unwrap();
    again.save(other.path()).unwrap();
    for file in [WEIGHTS_FILE, lora::CONFIG_FILE] {
        let read = |dir: &tempfile::TempDir| std::fs::read(dir.path().join(file)).unwrap();
        assert_eq!(read(&dir), read(&other), "{file}");
    }
}

#[test]
fn init_is_pefts_distribution_and_depends_on_the_seed() {
    let adapter = Adapter::init(&model(), config(), 1).unwrap();
    assert_eq!(adapter.parameters(), 12 * 4 * (2 * 192 + 2 * 128 + 3 * 256));
    for (_, pair) in adapter.pairs() {
        let bound = 1.0 / (pair.a.dims()[1] as f32).sqrt();
        let largest = values(&pair.a)
            .into_iter()
            .fold(0f32, |m, x| m.max(x.abs()));
        assert!(
            largest <= bound && largest > 0.9 * bound,
            "{largest} {bound}"
        );
        assert!(values(&pair.b).iter().all(|&x| x == 0.0));
    }
    let other = Adapter::init(&model(), config(), 2).unwrap();
    let first = |a: &Adapter| values(&a.pairs().next().unwrap().1.a);
    assert_ne!(first(&adapter), first(&other));
    // A site's values do not depend on which other sites there are.
    let attention = LoraConfig {
        target_modules: TargetModules::attention(),
        ..config()
    };
    assert_eq!(
        first(&adapter),
        first(&Adapter::init(&model(), attention, 1).unwrap())
    );
}

#[test]
fn half_precision_and_live_names_are_read() {
    let (dir, adapter) = saved();
    edit(dir.path(), |raw| {
        let names: Vec<String> = raw.keys().cloned().collect();
        for (i, name) in names.into_iter().enumerate() {
            let (_, shape, bytes) = raw.remove(&name).unwrap();
            let f32s = Tensor::from_raw_buffer(&bytes, DType::F32, &shape, &Device::Cpu).unwrap();
            let (dtype, half) = if i % 2 == 0 {
                (Dtype::BF16, DType::BF16)
            } else {
                (Dtype::F16, DType::F16)
            };
            let map = std::collections::HashMap::from([("x", f32s.to_dtype(half).unwrap())]);
            let path = dir.path().join("one");
            candle_core::safetensors::save(&map, &path).unwrap();
            let one = std::fs::read(&path).unwrap();
            let one = safetensors::SafeTensors::deserialize(&one).unwrap();
            let data = one.tensor("x").unwrap().data().to_vec();
            raw.insert(
                name.replace(".weight", ".default.weight"),
                (dtype, shape, data),
            );
        }
    });
    let again = Adapter::load(dir.path()).unwrap();
    for (name, tensor) in adapter.tensors() {
        for (x, y) in values(tensor).iter().zip(values(again.tensors()[&name])) {
            assert!((x - y).abs() <= 0.004 * x.abs(), "{name}: {x} {y}");
        }
    }
}

fn load_error(change: impl FnOnce(&mut Raw)) -> LoraError {
    let (dir, _) = saved();
    edit(dir.path(), change);
    let error = Adapter::load(dir.path()).unwrap_err();
    assert!(error.to_string().contains(WEIGHTS_FILE), "{error}");
    match error {
        LoraError::In { source, .. } => *source,
        other => other,
    }
}

#[test]
fn a_missing_tensor_is_named() {
    let error = load_error(|raw| drop(raw.remove(NAME)));
    assert!(
        matches!(error, LoraError::MissingTensor { name, found: 167, expected: 168 } if name == NAME)
    );
}

#[test]
fn an_unexpected_tensor_is_named() {
    for stranger in [
        "base_model.model.lm_head.lora_A.weight",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector.weight",
        "base_model.model.model.layers.10.mlp.down_proj.lora_B.default.weight",
    ] {
        let error = load_error(|raw| {
            let copy = raw[NAME].clone();
            raw.insert(stranger.to_string(), copy);
        });
        assert!(
            matches!(error, LoraError::UnexpectedTensor { .. }),
            "{error}"
        );
    }
}

#[test]
fn a_layer_number_out_of_this_world_is_an_error() {
    let error = load_error(|raw| {
        let copy = raw[NAME].clone();
        raw.insert(NAME.replace(".10.", &format!(".{}.", usize::MAX)), copy);
    });
    let text = error.to_string();
    assert!(text.contains("no model has 4096 layers"), "{text}");
}

#[test]
fn a_projection_that_is_not_a_target_is_unexpected() {
    let (dir, _) = saved();
    let attention = LoraConfig {
        target_modules: TargetModules::attention(),
        ..config()
    };
    let text = serde_json::to_string(&attention).unwrap();
    std::fs::write(dir.path().join(lora::CONFIG_FILE), text).unwrap();
    let error = Adapter::load(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("target_modules (q_proj,k_proj,v_proj,o_proj)"),
        "{error}"
    );
}

#[test]
fn another_rank_than_the_configs_is_an_error() {
    let (dir, _) = saved();
    let text = serde_json::to_string(&LoraConfig { r: 8, ..config() }).unwrap();
    std::fs::write(dir.path().join(lora::CONFIG_FILE), text).unwrap();
    let error = Adapter::load(dir.path()).unwrap_err().to_string();
    assert!(error.contains("[4, ") && error.contains("[8, "), "{error}");
}

#[test]
fn an_integer_tensor_is_refused() {
    let error = load_error(|raw| raw.get_mut(NAME).unwrap().0 = Dtype::I32);
    assert!(matches!(error, LoraError::Dtype { found, .. } if found == "I32"));
}

#[test]
fn a_truncated_file_is_refused_at_every_length() {
    let (dir, _) = saved();
    let path = dir.path().join(WEIGHTS_FILE);
    let whole = std::fs::read(&path).unwrap();
    for length in [0, 7, 8, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        let error = Adapter::load(dir.path()).unwrap_err();
        assert!(
            matches!(error, LoraError::Damaged { .. }),
            "{length}: {error}"
        );
    }
}

#[test]
fn missing_and_broken_files_are_named() {
    let (dir, _) = saved();
    std::fs::write(dir.path().join(lora::CONFIG_FILE), "{\"r\": ").unwrap();
    let error = Adapter::load(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("adapter_config.json: not valid JSON"),
        "{error}"
    );
    let error = Adapter::load(dir.path().join("nowhere"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("nowhere/adapter_config.json"), "{error}");
}

#[test]
fn an_adapter_for_another_model_is_refused() {
    let adapter = Adapter::init(&model(), config(), 1).unwrap();
    assert!(adapter.check(&model()).is_ok());
    let fewer = ModelConfig {
        num_hidden_layers: 11,
        ..model()
    };
    assert!(matches!(
        adapter.check(&fewer),
        Err(LoraError::Layers {
            found: 12,
            expected: 11
        })
    ));
    let wider = ModelConfig {
        hidden_size: 128,
        ..model()
    };
    let error = adapter.check(&wider).unwrap_err().to_string();
    assert!(
        error.contains("[4, 96]") && error.contains("[4, 128]"),
        "{error}"
    );
}
