//! Small models written here, then damaged in every way the loader must name.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::quantized::{GgmlDType, QTensor, gguf_file};
use candle_core::{DType, Device, Tensor};
use serde_json::json;

use super::{Checkpoint, LM_HEAD, tensor_shapes};
use crate::source::ModelFiles;
use crate::{ModelConfig, ModelError};

mod hostile;

fn config() -> ModelConfig {
    ModelConfig {
        hidden_size: 96,
        intermediate_size: 160,
        num_hidden_layers: 2,
        num_attention_heads: 3,
        num_key_value_heads: 1,
        head_dim: 32,
        vocab_size: 64,
        max_position_embeddings: 128,
        rms_norm_eps: 1e-5,
        rope_theta: 100_000.0,
        tie_word_embeddings: true,
        bos_token_id: Some(1),
        eos_token_ids: vec![2, 0],
        pad_token_id: None,
    }
}

/// Values that are exact in BF16, so that narrowing loses nothing, and differ from row to row.
fn weights(config: &ModelConfig) -> HashMap<String, Tensor> {
    let make = |(at, (name, shape)): (usize, (String, Vec<usize>))| {
        let count = shape.iter().product::<usize>();
        let values = (0..count).map(|i| ((i * 31 + at * 7) % 251) as f32 / 128.0 - 1.0);
        let tensor = Tensor::from_vec(values.collect(), shape, &Device::Cpu).unwrap();
        (name, tensor)
    };
    tensor_shapes(config).enumerate().map(make).collect()
}

fn write_dir(dir: &Path, config: &ModelConfig, tensors: &HashMap<String, Tensor>) -> ModelFiles {
    std::fs::write(
        dir.join("config.json"),
        config.to_hf_json("float32").to_string(),
    )
    .unwrap();
    let generation = json!({"eos_token_id": config.eos_token_ids});
    std::fs::write(dir.join("generation_config.json"), generation.to_string()).unwrap();
    candle_core::safetensors::save(tensors, dir.join("model.safetensors")).unwrap();
    ModelFiles::Dir(dir.to_path_buf())
}

/// llama.cpp's permutation of q and k rows: `[heads, 2, half]` becomes `[heads, half, 2]`.
fn permute(weight: &Tensor, heads: usize) -> Tensor {
    let (rows, width) = weight.dims2().unwrap();
    let split = weight.reshape((heads, 2, rows / heads / 2, width)).unwrap();
    split
        .transpose(1, 2)
        .unwrap()
        .contiguous()
        .unwrap()
        .reshape((rows, width))
        .unwrap()
}

fn write_gguf(path: &Path, config: &ModelConfig, kind: GgmlDType) -> ModelFiles {
    let number = |n: usize| gguf_file::Value::U32(n as u32);
    let metadata = [
        (
            "general.architecture",
            gguf_file::Value::String("llama".to_owned()),
        ),
        ("llama.embedding_length", number(config.hidden_size)),
        (
            "llama.feed_forward_length",
            number(config.intermediate_size),
        ),
        ("llama.block_count", number(config.num_hidden_layers)),
        (
            "llama.attention.head_count",
            number(config.num_attention_heads),
        ),
        (
            "llama.attention.head_count_kv",
            number(config.num_key_value_heads),
        ),
        ("llama.rope.dimension_count", number(config.head_dim)),
        ("llama.vocab_size", number(config.vocab_size)),
        (
            "llama.context_length",
            number(config.max_position_embeddings),
        ),
        (
            "llama.attention.layer_norm_rms_epsilon",
            gguf_file::Value::F32(1e-5),
        ),
        ("llama.rope.freq_base", gguf_file::Value::F32(100_000.0)),
        ("tokenizer.ggml.bos_token_id", number(1)),
        ("tokenizer.ggml.eos_token_id", number(2)),
    ];
    let tensors: Vec<(String, QTensor)> = weights(config)
        .into_iter()
        .map(|(name, tensor)| {
            let stored = match name.rsplit('.').nth(1) {
                Some("q_proj") => permute(&tensor, config.num_attention_heads),
                Some("k_proj") => permute(&tensor, config.num_key_value_heads),
                _ => tensor,
            };
            let kind = if stored.rank() == 1 {
                GgmlDType::F32
            } else {
                kind
            };
            let quantised = QTensor::quantize(&stored, kind).unwrap();
            (super::layout::gguf_name(&name).unwrap(), quantised)
        })
        .collect();
    let metadata: Vec<_> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let tensors: Vec<_> = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), tensor))
        .collect();
    let mut file = std::fs::File::create(path).unwrap();
    gguf_file::write(&mut file, &metadata, &tensors).unwrap();
    ModelFiles::Gguf(path.to_path_buf())
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
    let difference = (a - b).unwrap().abs().unwrap().flatten_all().unwrap();
    difference.max(0).unwrap().to_scalar::<f32>().unwrap()
}

fn failure(files: &ModelFiles) -> String {
    Checkpoint::open(files).unwrap_err().to_string()
}

#[test]
fn a_folder_gives_back_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let (config, tensors) = (config(), weights(&config()));
    let open = Checkpoint::open(&write_dir(dir.path(), &config, &tensors)).unwrap();
    assert_eq!(open.config(), &config);
    assert_eq!(open.names().len(), tensors.len());
    for (name, shape) in tensor_shapes(&config) {
        for dtype in [DType::F32, DType::BF16] {
            let read = open.tensor(&name, &shape, dtype).unwrap();
            assert_eq!(read.dtype(), dtype);
            assert_eq!(
                largest_difference(&read.to_dtype(DType::F32).unwrap(), &tensors[&name]),
                0.0
            );
        }
    }
    let error = open
        .tensor("model.norm.weight", &[96], DType::F16)
        .unwrap_err();
    assert!(matches!(error, ModelError::LoadType { .. }));
}

#[test]
fn shards_and_half_precision_read_as_one_file_does() {
    let dir = tempfile::tempdir().unwrap();
    let (config, tensors) = (config(), weights(&config()));
    write_dir(dir.path(), &config, &tensors);
    std::fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    let mut parts: [HashMap<String, Tensor>; 2] = [HashMap::new(), HashMap::new()];
    let mut map = serde_json::Map::new();
    for (name, tensor) in &tensors {
        let part = usize::from(name.contains("layers.1"));
        let dtype = [DType::F16, DType::BF16][part];
        parts[part].insert(name.clone(), tensor.to_dtype(dtype).unwrap());
        map.insert(name.clone(), json!(format!("model-{part}.safetensors")));
    }
    for (at, part) in parts.iter().enumerate() {
        let path = dir.path().join(format!("model-{at}.safetensors"));
        candle_core::safetensors::save(part, path).unwrap();
    }
    let index = dir.path().join("model.safetensors.index.json");
    std::fs::write(
        &index,
        json!({"metadata": {}, "weight_map": map}).to_string(),
    )
    .unwrap();
    let files = ModelFiles::Dir(dir.path().to_path_buf());
    let open = Checkpoint::open(&files).unwrap();
    for (name, shape) in tensor_shapes(&config) {
        let read = open.tensor(&name, &shape, DType::F32).unwrap();
        assert_eq!(largest_difference(&read, &tensors[&name]), 0.0, "{name}");
    }

    std::fs::remove_file(dir.path().join("model-1.safetensors")).unwrap();
    assert!(failure(&files).contains("model-1.safetensors"));
    std::fs::write(
        &index,
        json!({"weight_map": {"a": "../a.safetensors"}}).to_string(),
    )
    .unwrap();
    assert!(failure(&files).contains("not a plain file name"));
}

#[test]
fn gguf_rows_come_back_in_rotate_half_order() {
    let dir = tempfile::tempdir().unwrap();
    let (config, tensors) = (config(), weights(&config()));
    let kinds = [
        (GgmlDType::F32, 0.0),
        (GgmlDType::F16, 0.0),
        (GgmlDType::BF16, 0.0),
        (GgmlDType::Q8_0, 0.005),
        (GgmlDType::Q5_1, 0.04),
        (GgmlDType::Q4_1, 0.07),
        (GgmlDType::Q4_0, 0.14),
    ];
    for (kind, tolerance) in kinds {
        let files = write_gguf(&dir.path().join(format!("{kind:?}.gguf")), &config, kind);
        let open = Checkpoint::open(&files).unwrap();
        let expected = ModelConfig {
            eos_token_ids: vec![2],
            pad_token_id: None,
            ..config.clone()
        };
        assert_eq!(open.config(), &expected);
        for (name, shape) in tensor_shapes(&config) {
            let read = open.tensor(&name, &shape, DType::F32).unwrap();
            let difference = largest_difference(&read, &tensors[&name]);
            assert!(difference <= tolerance, "{kind:?} {name}: {difference}");
        }
    }
}

#[test]
fn a_missing_output_projection_is_the_embedding() {
    let dir = tempfile::tempdir().unwrap();
    let untied = ModelConfig {
        tie_word_embeddings: false,
        ..config()
    };
    let mut tensors = weights(&untied);
    let files = write_dir(dir.path(), &untied, &tensors);
    assert!(
        !Checkpoint::open(&files)
            .unwrap()
            .config()
            .tie_word_embeddings
    );
    tensors.remove(LM_HEAD);
    let files = write_dir(dir.path(), &untied, &tensors);
    assert!(
        Checkpoint::open(&files)
            .unwrap()
            .config()
            .tie_word_embeddings
    );
}

#[test]
fn contradictions_name_file_tensor_and_shapes() {
    let dir = tempfile::tempdir().unwrap();
    let mut tensors = weights(&config());
    let wider = ModelConfig {
        intermediate_size: 192,
        ..config()
    };
    let message = failure(&write_dir(dir.path(), &wider, &tensors));
    for part in [
        "model.safetensors",
        "mlp.",
        "[160, 96]",
        "[192, 96]",
        "different models",
    ] {
        assert!(message.contains(part), "{message}");
    }
    tensors.remove("model.layers.1.mlp.up_proj.weight");
    let message = failure(&write_dir(dir.path(), &config(), &tensors));
    assert!(
        message.contains("model.layers.1.mlp.up_proj.weight` is missing"),
        "{message}"
    );
    let whole = Tensor::zeros((160, 96), DType::U8, &Device::Cpu).unwrap();
    tensors.insert("model.layers.1.mlp.up_proj.weight".to_owned(), whole);
    let message = failure(&write_dir(dir.path(), &config(), &tensors));
    assert!(
        message.contains("stored as U8, expected one of F32, F16, BF16"),
        "{message}"
    );
}

#[test]
fn gguf_types_that_cannot_be_read_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    write_gguf(&path, &config(), GgmlDType::Q8_0);
    let mut bytes = std::fs::read(&path).unwrap();
    // A tensor record: name, number of dimensions, dimensions innermost first, type.
    let mut record = b"blk.0.ffn_up.weight".to_vec();
    record.extend(2_u32.to_le_bytes());
    record.extend(96_u64.to_le_bytes());
    record.extend(160_u64.to_le_bytes());
    let at = bytes
        .windows(record.len())
        .position(|w| w == record)
        .unwrap()
        + record.len();
    // IQ4_NL: as wide a block as Q4_0, so it fits where the Q8_0 blocks were.
    bytes[at] = 20;
    std::fs::write(&path, &bytes).unwrap();
    let message = failure(&ModelFiles::Gguf(path.clone()));
    assert!(
        message.contains("blk.0.ffn_up.weight` is stored as IQ4_NL"),
        "{message}"
    );
    bytes[at] = 99;
    std::fs::write(&path, &bytes).unwrap();
    let message = failure(&ModelFiles::Gguf(path));
    assert!(
        message.contains("blk.0.ffn_up.weight") && message.contains("99"),
        "{message}"
    );
}

/// Cuts a file at many lengths; opening must fail with its name every time.
fn cut_everywhere(path: &Path, files: &ModelFiles) {
    let whole = std::fs::read(path).unwrap();
    for length in [0, 3, 7, 8, 9, 100, 1000, whole.len() / 2, whole.len() - 1] {
        std::fs::write(path, &whole[..length]).unwrap();
        let message = failure(files);
        let name = path.file_name().and_then(|name| name.to_str()).unwrap();
        assert!(
            message.contains(name) && !message.contains('\n'),
            "{length}: {message}"
        );
    }
}

#[test]
fn truncated_files_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let files = write_dir(dir.path(), &config(), &weights(&config()));
    cut_everywhere(&dir.path().join("model.safetensors"), &files);
    let path: PathBuf = dir.path().join("model.gguf");
    let files = write_gguf(&path, &config(), GgmlDType::Q8_0);
    cut_everywhere(&path, &files);
}

#[test]
fn folders_without_weights_say_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let files = ModelFiles::Dir(dir.path().to_path_buf());
    assert!(failure(&files).contains("config.json"));
    write_dir(dir.path(), &config(), &weights(&config()));
    std::fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    assert!(failure(&files).contains("neither model.safetensors nor"));
}
