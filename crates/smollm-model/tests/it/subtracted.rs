//! Updates taken out of a base: what every way of loading it then has.

use candle_core::{DType, Device, Tensor};
use smollm_model::{
    Checkpoint, Decoder, Llama, LowRank, ModelFiles, PackedCache, PackedLlama, PackedOptions,
    Phase, Projection, Ragged, Segment, TrainingBatch, TrainingLlama, TrainingOptions,
    WeightFormat,
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
            let mode = smollm_model::Mode::Eval;
            let hidden = model.hidden(&inputs, mode).unwrap();
            let nll = model.nll(&hidden, (&rows, &ids[1..]), mode).unwrap();
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
        // The last token's own, from Llama, against packed weights in every format: blocks of a file are no longer those of
        // the weight.
        let last = |ck: &Checkpoint| {
            let model = Llama::load(ck, DType::F32, &Device::Cpu).unwrap();
            let hidden = model.hidden(&inputs, smollm_model::Mode::Eval).unwrap();
            let logits = model.logits(&hidden.narrow(0, 38, 1).unwrap()).unwrap();
            logits.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let (whole, less) = (last(&checkpoint(file)), last(&without(file)));
        for (format, tolerance) in [(WeightFormat::F32, 1e-4), (WeightFormat::Stored, 0.1)] {
            let found = packed_logits(&without(file), format, &ids[..39]);
            let (near, far) = (apart(&found, &less), apart(&found, &whole));
            assert!(near < tolerance, "{file}, {format:?}: {near}");
            assert!(far > 5.0 * near, "{file}, {format:?}: {far} {near}");
        }
    }
}

/// `|x − y| / |y|`
fn apart(x: &[f32], y: &[f32]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let both = x.iter().zip(y);
    let mut differences = both.map(|(x, y)| f64::from(x - y));
    norm(&mut differences) / norm(&mut y.iter().map(|y| f64::from(*y)))
}

/// Scores of the token after a prompt.
fn packed_logits(ck: &Checkpoint, format: WeightFormat, ids: &[u32]) -> Vec<f32> {
    let options = PackedOptions {
        format,
        ..PackedOptions::default()
    };
    let mut model = PackedLlama::load(ck, options).unwrap();
    let mut cache = PackedCache::default();
    let mut segments = vec![Segment {
        ids,
        cache: &mut cache,
        adapter: None,
        phase: Phase::Prompt,
        logits: true,
    }];
    let logits = model.pass(&mut segments).unwrap();
    logits.to_vec()
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
