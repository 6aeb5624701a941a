//! Model files made to harm: an error that names the file, or a model that runs, and no more memory
//! than the file's size explains.
//!
//! A binary of its own, since it counts what the process allocates.

#![allow(clippy::unwrap_used, reason = "a failed test is a panic")]

#[path = "../../../gguf/tests/hostile/mutate.rs"]
mod mutate;
#[path = "../../../gguf/tests/hostile/peak.rs"]
mod peak;

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};
use smollm_model::{
    Checkpoint, DType, Device, GenerationConfig, Llama, ModelError, ModelFiles, PackedLlama,
    PackedOptions, generate,
};
use tempfile::TempDir;

use mutate::Victim;

/// Opening reads the header, which grows as it is parsed: 15 times for many empty tensors.
const OPEN_FACTOR: usize = 20;
/// Loading widens weights: 18 bytes of `Q4_0` are 32 f32, and one tensor is there more than once.
const LOAD_FACTOR: usize = 24;
/// What any file may take: the configuration, error messages, thread stacks of rayon.
const BASE: usize = 1 << 18;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures")
        .join(name)
}

/// Opens and loads, checks memory, runs what it got; whether there was a model.
fn survive(files: &ModelFiles, size: usize, name: &str) -> bool {
    let (opened, most) = peak::of(|| Checkpoint::open(files));
    assert!(
        most <= BASE + OPEN_FACTOR * size,
        "{most} bytes to open {size}"
    );
    let loaded = opened.and_then(|open| Ok((load(&open, size)?, pack(&open, size)?)));
    let (model, mut packed) = match loaded {
        Ok(both) => both,
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains(name), "{text}");
            return false;
        }
    };
    // Weights may be anything, NaN too; a small vocabulary has not these tokens.
    let prompt = [vec![1, 2, 3]];
    let config = GenerationConfig {
        max_new_tokens: 2,
        ..GenerationConfig::default()
    };
    let _ = generate(&model, &prompt, &config, &mut |_| ControlFlow::Continue(()));
    let _ = generate(&mut packed, &prompt, &config, &mut |_| {
        ControlFlow::Continue(())
    });
    true
}

fn load(open: &Checkpoint, size: usize) -> Result<Llama, ModelError> {
    let (model, most) = peak::of(|| Llama::load(open, DType::F32, &Device::Cpu));
    assert!(
        most <= BASE + LOAD_FACTOR * size,
        "{most} bytes to load {size}"
    );
    model
}

fn pack(open: &Checkpoint, size: usize) -> Result<PackedLlama, ModelError> {
    let options = PackedOptions {
        threads: Some(1),
        ..PackedOptions::default()
    };
    let (model, most) = peak::of(|| PackedLlama::load(open, options));
    assert!(
        most <= BASE + LOAD_FACTOR * size,
        "{most} bytes to pack {size}"
    );
    model
}

/// A folder with the tiny model's configuration, for weights that are not its own.
fn folder() -> (TempDir, ModelFiles) {
    let dir = tempfile::tempdir().unwrap();
    for name in ["config.json", "generation_config.json", "model.safetensors"] {
        fs::copy(fixture("tiny-model").join(name), dir.path().join(name)).unwrap();
    }
    let files = ModelFiles::Dir(dir.path().to_path_buf());
    (dir, files)
}

fn leaked(name: &str) -> &'static [u8] {
    Vec::leak(fs::read(fixture(name)).unwrap())
}

fn gguf_victim(bytes: &'static [u8], donor: &'static [u8]) -> Victim<'static> {
    let header = gguf::Header::parse(bytes).unwrap();
    let keys = header.metadata().keys().map(String::as_str);
    let tensors = header.tensors().iter().map(|t| t.name.as_str());
    Victim::new(
        bytes,
        header.data_offset(),
        keys.chain(tensors),
        vec![donor],
    )
}

static GGUF: LazyLock<[Victim<'static>; 2]> = LazyLock::new(|| {
    let (a, b) = (
        leaked("tiny-model-q8_0.gguf"),
        leaked("tiny-model-q4_0.gguf"),
    );
    [gguf_victim(a, b), gguf_victim(b, a)]
});

static SAFETENSORS: LazyLock<Victim<'static>> = LazyLock::new(|| {
    let bytes = leaked("tiny-model/model.safetensors");
    let header = 8 + usize::from_le_bytes(*bytes.first_chunk().unwrap());
    // What stands in the header's text is as good a target as a name.
    let targets = [
        "shape",
        "data_offsets",
        "dtype",
        "BF16",
        "[1237,96]",
        "lm_head",
        "237504",
    ];
    let names = (0..2).map(|i| format!("model.layers.{i}.mlp.up_proj.weight"));
    let names = names.chain(targets.map(str::to_owned));
    Victim::new(bytes, header, names, vec![leaked("tiny-model/config.json")])
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn damaged_gguf(seed in any::<u64>()) {
        let _turn = peak::turn();
        let dir = tempfile::tempdir().unwrap();
        let files = ModelFiles::Gguf(dir.path().join("model.gguf"));
        for victim in &*GGUF {
            let bytes = victim.damaged(seed);
            fs::write(files.path(), &bytes).unwrap();
            survive(&files, bytes.len(), "model.gguf");
        }
    }

    #[test]
    fn damaged_safetensors(seed in any::<u64>()) {
        let _turn = peak::turn();
        let (dir, files) = folder();
        let bytes = SAFETENSORS.damaged(seed);
        fs::write(dir.path().join("model.safetensors"), &bytes).unwrap();
        survive(&files, bytes.len(), "model.safetensors");
    }
}

/// Headers whose text is well formed and whose numbers are not.
#[test]
fn safetensors_with_every_number_changed() {
    let _turn = peak::turn();
    let (dir, files) = folder();
    let path = dir.path().join("model.safetensors");
    let bytes = SAFETENSORS.bytes;
    let (header, data) = bytes[8..].split_at(SAFETENSORS.header - 8);
    let header: Value = serde_json::from_slice(header).unwrap();
    let numbers = [
        json!(0),
        json!(1),
        json!(97),
        json!(1u64 << 40),
        json!(u64::MAX),
        json!(-1),
    ];
    for (name, _) in header.as_object().unwrap() {
        for field in [
            "/shape/0",
            "/shape/1",
            "/data_offsets/0",
            "/data_offsets/1",
            "/dtype",
        ] {
            for number in numbers
                .iter()
                .chain(&[json!("F64"), json!("I32"), json!("F4")])
            {
                let mut changed = header.clone();
                let place = changed[name.as_str()].pointer_mut(field);
                let Some(place) = place.filter(|place| *place != number) else {
                    continue;
                };
                *place = number.clone();
                let text = changed.to_string();
                let length = (text.len() as u64).to_le_bytes();
                let file = [&length, text.as_bytes(), data].concat();
                fs::write(&path, &file).unwrap();
                assert!(
                    !survive(&files, file.len(), "model.safetensors"),
                    "{name}{field} = {number}"
                );
            }
        }
    }
}

/// A header of one shape with a million dimensions, of a million empty tensors, of metadata.
#[test]
fn safetensors_headers_that_grow() {
    let _turn = peak::turn();
    let (dir, files) = folder();
    let ones = "1,".repeat(1 << 20);
    let empty = r#"{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"#;
    let tensors: Vec<String> = (0..20_000).map(|i| format!(r#""{i:x}":{empty}"#)).collect();
    for header in [
        format!(r#"{{"a":{{"dtype":"U8","shape":[{ones}1],"data_offsets":[0,1]}}}}"#),
        format!(r#"{{"a":{{"more":[{ones}1]}}}}"#),
        format!(r#"{{"__metadata__":[{ones}1]}}"#),
        format!("{{{}}}", tensors.join(",")),
    ] {
        let file = [
            &(header.len() as u64).to_le_bytes(),
            header.as_bytes(),
            &[0],
        ]
        .concat();
        fs::write(dir.path().join("model.safetensors"), &file).unwrap();
        assert!(!survive(&files, file.len(), "model.safetensors"));
    }
}

/// Each key of the configuration with each absurd value, alone.
#[test]
fn absurd_configurations() {
    let _turn = peak::turn();
    let (dir, files) = folder();
    let path = dir.path().join("config.json");
    let whole: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let values = [
        json!(0),
        json!(-1),
        json!(1),
        json!(3),
        json!(1u64 << 28),
        json!(u32::MAX),
        json!(u64::MAX),
        json!(0.5),
        json!(1e308),
        json!(-0.0),
        json!("x"),
        json!(null),
        json!([]),
        json!({}),
        json!(true),
        json!([u32::MAX]),
        json!({"rope_theta": -1}),
        json!([[[]]]),
    ];
    let size = SAFETENSORS.bytes.len();
    let keys = whole.as_object().unwrap().keys().map(String::as_str);
    for key in keys.chain(["rope_parameters", "quantization_config"]) {
        for value in &values {
            let mut config = whole.clone();
            config[key] = value.clone();
            fs::write(&path, config.to_string()).unwrap();
            survive(&files, size, dir.path().to_str().unwrap());
        }
    }
}
