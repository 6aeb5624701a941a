//! Updates taken out of a base: what every way of loading it then has.

use candle_core::{DType, Device, Tensor};
use smollm_model::{
    Checkpoint, Llama, LowRank, ModelFiles, PackedLlama, PackedOptions, Projection, Ragged,
    TrainingBatch, TrainingLlama, TrainingOptions, WeightFormat,
};

use crate::{fixtures, largest_difference};

const PLACES: [(usize, Projection); 3] = [
    (0, Projection::Q),
    (1, Projection::V),
    (1, Projection::Down),
];

fn checkpoint(file: &str) -> Checkpoint {
    let path = fixtures().join(file);
    let files = if path.is_dir() {
        ModelFiles::Dir(path)
    } else {
        ModelFiles::Gguf(path)
    };
    Checkpoint::open(&files).unwrap()
}

fn update(ck: &Checkpoint, projection: Projection) -> LowRank {
    let (out, inputs) = projection.dims(ck.config());
    let matrix = |shape: (usize, usize), key: usize| {
        let value = |i: usize| 0.2 * ((i * 7919 + key * 104_729) as f32 * 0.37).sin();
        let values: Vec<f32> = (0..shape.0 * shape.1).map(value).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    };
    LowRank {
        a: matrix((3, inputs), 1),
        b: matrix((out, 3), 2),
        scale: 0.7,
        dropout: 0.0,
        magnitude: None,
    }
}

fn without(file: &str) -> Checkpoint {
    let mut ck = checkpoint(file);
    for (layer, projection) in PLACES {
        let update = update(&ck, projection);
        ck.subtract(layer, projection, &update).unwrap();
    }
    ck
}

#[test]
fn a_weight_is_read_without_them_and_others_as_they_are() {
    for file in ["tiny-model", "tiny-model-q8_0.gguf", "tiny-model-q4_0.gguf"] {
        let (whole, less) = (checkpoint(file), without(file));
        for layer in 0..2 {
            for projection in Projection::ALL {
                let (out, inputs) = projection.dims(whole.config());
                let name = projection.tensor_name(layer);
                let read =
                    |ck: &Checkpoint, dtype| ck.tensor(&name, &[out, inputs], dtype).unwrap();
                let found = read(&less, DType::F32);
                let mut expected = read(&whole, DType::F32);
                if PLACES.contains(&(layer, projection)) {
                    let LowRank { a, b, scale, .. } = update(&whole, projection);
                    let product = (b.matmul(&a).unwrap() * scale).unwrap();
                    assert!(largest_difference(&found, &expected) > 0.01, "{name}");
                    expected = (expected - product).unwrap();
                }
                assert!(
                    largest_difference(&found, &expected) < 1e-6,
                    "{file}, {name}"
                );
                let rounded = found.to_dtype(DType::BF16).unwrap();
                let bf16 = read(&less, DType::BF16);
                let far = largest_difference(
                    &bf16.to_dtype(DType::F32).unwrap(),
                    &rounded.to_dtype(DType::F32).unwrap(),
                );
                assert_eq!(far, 0.0, "{file}, {name}: rounded once");
            }
        }
    }
}

#[test]
fn every_engine_computes_with_what_is_left() {
    let ids: Vec<u32> = (0..40).map(|i| (i * 37 + 5) % 1200).collect();
    let inputs = Ragged::new(&[&ids[..39]]).unwrap();
    let rows: Vec<u32> = (0..39).collect();
    for file in ["tiny-model", "tiny-model-q8_0.gguf"] {
        let nll = |ck: &Checkpoint| {
            let model = Llama::load(ck, DType::F32, &Device::Cpu).unwrap();
            let hidden = model.hidden(&inputs, smollm_model::Mode::Eval).unwrap();
            let nll = model.nll(&hidden, &rows, &ids[1..]).unwrap();
            f64::from(nll.to_scalar::<f32>().unwrap())
        };
        let (whole, less) = (nll(&checkpoint(file)), nll(&without(file)));
        assert!((whole / less - 1.0).abs() > 1e-3, "{whole} {less}");
        let mut training = TrainingLlama::load(&without(file), TrainingOptions::default()).unwrap();
        let batch = TrainingBatch {
            sequences: &inputs,
            rows: &rows,
            targets: &ids[1..],
        };
        let packed = training.nll(batch, &[]).unwrap();
        assert!((packed / less - 1.0).abs() < 1e-5, "{packed} {less}");
        // Blocks of a file are no longer those of the weight.
        for format in [WeightFormat::Stored, WeightFormat::F32] {
            let options = PackedOptions {
                format,
                ..PackedOptions::default()
            };
            let of = |ck: &Checkpoint| answer(&mut PackedLlama::load(ck, options).unwrap());
            assert_ne!(
                of(&checkpoint(file)),
                of(&without(file)),
                "{file}, {format:?}"
            );
        }
    }
}

/// What it writes after a prompt.
fn answer(model: &mut PackedLlama) -> Vec<u32> {
    let prompt = vec![vec![1, 327, 201, 17]];
    let config = smollm_model::GenerationConfig {
        max_new_tokens: 12,
        ..smollm_model::GenerationConfig::default()
    };
    let mut hear = |_| std::ops::ControlFlow::Continue(());
    let answers = smollm_model::generate(model, &prompt, &config, &mut hear).unwrap();
    answers[0].ids.clone()
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut ck = checkpoint("tiny-model");
    let q = update(&ck, Projection::Q);
    let error = ck.subtract(2, Projection::Q, &q).unwrap_err().to_string();
    assert!(
        error.contains("is 2") && error.contains("below 2"),
        "{error}"
    );
    let error = ck.subtract(0, Projection::Up, &q).unwrap_err().to_string();
    assert!(error.contains("up_proj"), "{error}");
}
