//! The LoRA trace on real weights and rows: `SMOLTUNE_REFERENCE` (folder with `golden/` and `data/`)
//! and `SMOLTUNE_GGUF` (`SmolLM2-135M-Instruct.Q4_1.gguf`) say where they are.
#![allow(clippy::unwrap_used, reason = "in tests a panic is the report")]

#[cfg(feature = "cuda")]
mod device;
mod packed;
mod trace;

use candle_core::{DType, Device, Tensor};
use chat_prompt::{OverflowPolicy, Prompter, RowOutcome};
use lora::{Adapter, Sample, Trainable};
use smollm_model::{Checkpoint, Llama, ModelFiles};
use std::path::PathBuf;

fn variable(name: &str) -> PathBuf {
    match std::env::var_os(name) {
        Some(path) => path.into(),
        None => panic!("set {name}; see the head of {}", file!()),
    }
}

fn golden(path: &str) -> PathBuf {
    variable("SMOLTUNE_REFERENCE")
        .join("golden/lora_trace")
        .join(path)
}

fn gguf() -> PathBuf {
    variable("SMOLTUNE_GGUF")
}

/// The first 40 rows of the training set, at most 768 tokens each.
fn rows() -> Vec<Sample> {
    let prompter = Prompter::from_gguf(&gguf::GgufFile::open(gguf()).unwrap()).unwrap();
    let data = variable("SMOLTUNE_REFERENCE").join("data/dolly-train-1000.csv");
    let loaded = dolly_data::load_rows(&data).unwrap();
    let encode = |row: &dolly_data::Row| {
        let context = row.context.as_deref();
        let (instruction, response) = (&row.instruction, &row.response);
        match prompter.training_row(instruction, context, response, 768, OverflowPolicy::Error) {
            Ok(RowOutcome::Kept(row)) => Sample::from(&row),
            other => panic!("{other:?}"),
        }
    };
    loaded.rows.iter().take(40).map(encode).collect()
}

fn checkpoint() -> Checkpoint {
    Checkpoint::open(&ModelFiles::Gguf(gguf())).unwrap()
}

fn model() -> Llama {
    Llama::load(&checkpoint(), DType::F32, &Device::Cpu).unwrap()
}

fn distances(a: &Tensor, b: &Tensor) -> Vec<f32> {
    let all = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    all(a)
        .iter()
        .zip(all(b))
        .map(|(x, y)| (x - y).abs())
        .collect()
}

#[test]
fn pefts_initial_adapter_round_trips() {
    let adapter = Adapter::load(golden("init_adapter")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    adapter.save(dir.path()).unwrap();
    let again = Adapter::load(dir.path()).unwrap();
    for (name, tensor) in adapter.tensors() {
        assert!(
            distances(tensor, again.tensors()[&name])
                .iter()
                .all(|&d| d == 0.0),
            "{name}"
        );
    }
}

/// Losses, norms and the final adapter.
#[test]
fn ten_steps_follow_peft_on_real_weights() {
    let mut model = model();
    let start = Adapter::load(golden("init_adapter")).unwrap();
    let trainable = Trainable::attach(&start, &mut model).unwrap();
    trace::follow(&model, &trainable).assert_f32();
}

/// The gradients of the first window equal PEFT's, element by element.
#[test]
fn the_first_gradients_are_pefts() {
    let golden =
        candle_core::safetensors::load(golden("grads_step0_after_clip.safetensors"), &Device::Cpu)
            .unwrap();
    let mut model = model();
    let start = Adapter::load(self::golden("init_adapter")).unwrap();
    let trainable = Trainable::attach(&start, &mut model).unwrap();
    let rows = &rows()[..4];
    let supervised: usize = rows.iter().map(|r| r.labels.len()).sum();
    let inputs: Vec<&[u32]> = rows.iter().map(|r| r.ids.as_slice()).collect();
    let batch = smollm_model::Ragged::new(&inputs).unwrap();
    let mode = smollm_model::Mode::Train { dropout_seed: 0 };
    let hidden = model.hidden(&batch, mode).unwrap();
    let (mut places, mut targets) = (Vec::new(), Vec::new());
    for (row, range) in rows.iter().zip(batch.segments().iter()) {
        places.extend(row.labels.iter().map(|l| (range.start + l - 1) as u32));
        targets.extend(row.labels.iter().map(|&l| row.ids[l]));
    }
    let nll = model.nll(&hidden, (&places, &targets), mode).unwrap();
    let grads = (nll / supervised as f64).unwrap().backward().unwrap();
    assert_eq!(golden.len(), trainable.vars().len());
    // The norm of this step, 0.83, is below the limit of 1: clipping left the gradients alone.
    for (name, var) in trainable.vars() {
        let norm = |d: Vec<f32>| d.iter().map(|&d| f64::from(d).powi(2)).sum::<f64>().sqrt();
        let theirs = &golden[name];
        let size = norm(distances(theirs, &theirs.zeros_like().unwrap()));
        let far = norm(distances(grads.get(var).unwrap(), theirs));
        assert!(far <= 1e-4 * size, "{name}: {far} of {size}");
    }
}
