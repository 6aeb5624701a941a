//! Files that ask for more than they are, or for what is not theirs.

use candle_core::quantized::GgmlDType;
use serde_json::json;

use super::{config, failure, weights, write_dir, write_gguf};
use crate::ModelConfig;
use crate::source::ModelFiles;

/// A shard's name is taken from a file: it must not be a way out of the folder, and no tensor may lie
/// in two of them.
#[test]
fn an_index_stays_in_its_folder_and_its_shards_apart() {
    let dir = tempfile::tempdir().unwrap();
    let tensors = weights(&config());
    let files = write_dir(dir.path(), &config(), &tensors);
    let single = dir.path().join("model.safetensors");
    let outside = tempfile::tempdir().unwrap();
    std::fs::copy(&single, outside.path().join("a.safetensors")).unwrap();
    std::fs::copy(&single, dir.path().join("a.safetensors")).unwrap();
    std::fs::rename(&single, dir.path().join("b.safetensors")).unwrap();
    let index = |names: &[&str]| {
        let map: serde_json::Map<_, _> = (0..)
            .zip(names)
            .map(|(i, name)| (format!("t{i}"), json!(name)))
            .collect();
        let text = json!({"weight_map": map}).to_string();
        std::fs::write(dir.path().join("model.safetensors.index.json"), text).unwrap();
        failure(&files)
    };
    let absolute = outside.path().join("a.safetensors");
    for name in [
        absolute.to_str().unwrap(),
        "../a.safetensors",
        "..",
        ".",
        "",
        "/",
        "sub/a.safetensors",
        "a.safetensors/",
        "./a.safetensors",
    ] {
        assert!(
            index(&[name]).contains("is not a plain file name"),
            "{name}"
        );
    }
    assert!(index(&[]).contains("names no files"));
    assert!(index(&["a\0b"]).contains("cannot read"));
    assert!(index(&["config.json"]).contains("config.json: the file is damaged"));
    let message = index(&["a.safetensors", "b.safetensors"]);
    assert!(
        message.contains("b.safetensors: the file is damaged") && message.contains("is also in"),
        "{message}"
    );
}

/// A hundred million layers are refused by the first that is not there.
#[test]
fn layers_that_are_not_there_are_not_listed() {
    let dir = tempfile::tempdir().unwrap();
    let tensors = weights(&config());
    let many = ModelConfig {
        num_hidden_layers: 1 << 28,
        ..config()
    };
    let message = failure(&write_dir(dir.path(), &many, &tensors));
    assert!(
        message.contains("model.layers.2.input_layernorm.weight` is missing"),
        "{message}"
    );
}

/// Tensors of a GGUF file that point at the same bytes would be more in memory than in the file.
#[test]
fn gguf_tensors_that_share_bytes_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    write_gguf(&path, &config(), GgmlDType::Q8_0);
    let offset_of = |file: &gguf::GgufFile, name: &str| {
        (file.tensor(name).unwrap().offset - file.data_offset()) as u64
    };
    let (gate, up) = {
        let file = gguf::GgufFile::open(&path).unwrap();
        (
            offset_of(&file, "blk.0.ffn_gate.weight"),
            offset_of(&file, "blk.0.ffn_up.weight"),
        )
    };
    let mut bytes = std::fs::read(&path).unwrap();
    let name = b"blk.0.ffn_up.weight";
    let at = bytes.windows(name.len()).position(|w| w == name).unwrap();
    // The offset stands after rank, two dimensions and the type.
    let at = at + name.len() + 4 + 16 + 4;
    assert_eq!(bytes[at..at + 8], up.to_le_bytes());
    bytes[at..at + 8].copy_from_slice(&gate.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    let message = failure(&ModelFiles::Gguf(path));
    assert!(
        message.contains("model.gguf: tensor `blk.0.ffn_") && message.contains("must not overlap"),
        "{message}"
    );
}
