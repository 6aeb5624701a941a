//! Weights that stay as they are stored.

use smollm_model::WeightFormat;

use super::*;
use crate::blocks::{KINDS, model};

fn quantised(file: &str) -> Checkpoint {
    Checkpoint::open(&ModelFiles::Gguf(fixtures().join(file))).unwrap()
}

#[test]
fn blocks_train_as_the_floats_do_that_they_stand_for_in_f32_to_the_bit() {
    let case = Case::new(&[70, 1, 17, 130], &everywhere(), 4, 0.1);
    for file in ["tiny-model-q8_0.gguf", "tiny-model-q4_0.gguf"] {
        as_floats(&quantised(file), &case, file);
    }
}

#[test]
fn blocks_of_every_type_train_as_their_floats_do() {
    for (kind, _) in KINDS {
        let (_folder, checkpoint) = model(kind);
        let case = Case::of(checkpoint.config(), &[70, 1, 17], &everywhere(), 4, 0.1);
        as_floats(&checkpoint, &case, &format!("{kind:?}"));
    }
}

/// In f32 the same bits; beside bf16 nearly the same.
fn as_floats(checkpoint: &Checkpoint, case: &Case, name: &str) {
    for (options, expanded) in [(f32s(), WeightFormat::F32), (bf16s(), WeightFormat::Bf16)] {
        let expanded = TrainingOptions {
            format: expanded,
            ..options
        };
        let load = |options| TrainingLlama::load(checkpoint, options).unwrap();
        let found = case.packed(&mut load(options));
        let expected = case.packed(&mut load(expanded));
        if options.dtype == DType::F32 {
            assert_eq!(found, expected, "{name}");
        } else {
            // Embeddings are looked up in what is kept, and blocks are nearer to f32 than bf16.
            assert!((found.0 / expected.0 - 1.0).abs() < 1e-3, "{name}");
            each(case, &found.1, &expected.1, |site, found, expected| {
                let cosine = cosine(found, expected);
                assert!(cosine > 0.999, "{name} {site}: {cosine}");
            });
        }
        let bytes = |options| TrainingLlama::weight_bytes(checkpoint, options, &[]).unwrap();
        assert!(2 * bytes(options) < bytes(expanded) * 3 / 2, "{name}");
    }
}

#[test]
fn weights_quantised_at_load_are_those_of_a_quantised_file() {
    let case = Case::new(&[33, 9], &everywhere(), 2, 0.0);
    let quantise = TrainingOptions {
        format: WeightFormat::Q8_0,
        ..f32s()
    };
    let found = case.packed(&mut load(quantise));
    let mut file = TrainingLlama::load(&quantised("tiny-model-q8_0.gguf"), f32s()).unwrap();
    assert_eq!(found, case.packed(&mut file));
}
