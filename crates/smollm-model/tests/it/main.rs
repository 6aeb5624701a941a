//! The model against transformers on the tiny fixture, and its promises: one result for a row in any
//! batch, exact gradients, clear errors.

#![allow(clippy::unwrap_used)] // a test: a panic is its failure

mod blocks;
mod goldens;
mod gradients;
mod invariance;
mod oracle;
mod packed;
mod subtracted;
mod training;

use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use smollm_model::{Checkpoint, Llama, Mode, ModelFiles, Ragged};

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

fn open(files: &ModelFiles, dtype: DType) -> Llama {
    Llama::load(&Checkpoint::open(files).unwrap(), dtype, &Device::Cpu).unwrap()
}

fn tiny() -> Llama {
    open(&ModelFiles::Dir(fixtures().join("tiny-model")), DType::F32)
}

fn golden(name: &str) -> serde_json::Value {
    let text = std::fs::read_to_string(fixtures().join("goldens").join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn ids(value: &serde_json::Value) -> Vec<u32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_u64().unwrap() as u32)
        .collect()
}

/// Logits after every token of one sequence.
fn logits(model: &Llama, ids: &[u32]) -> Tensor {
    let hidden = model
        .hidden(&Ragged::new(&[ids]).unwrap(), Mode::Eval)
        .unwrap();
    model.logits(&hidden).unwrap()
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    (a - b)
        .unwrap()
        .abs()
        .unwrap()
        .max_all()
        .unwrap()
        .to_scalar()
        .unwrap()
}
