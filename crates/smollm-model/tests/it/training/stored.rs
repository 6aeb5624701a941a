//! Weights that stay as they are stored.

use cpu_gemm::{Arithmetic, Format, OperandKind, PackedMatrix};
use smollm_model::WeightFormat;

use super::*;

fn quantised(file: &str) -> Checkpoint {
    Checkpoint::open(&ModelFiles::Gguf(fixtures().join(file))).unwrap()
}

/// Whether this CPU multiplies bf16; elsewhere blocks are not rounded beside f32 inputs, and expanded weights are.
fn multiplies_bf16() -> bool {
    let one = PackedMatrix::from_f32(&[0.0], 1, 1, Format::Bf16).unwrap();
    one.operand_kind(Arithmetic::Float) == OperandKind::Bf16
}

#[test]
fn blocks_train_to_the_bits_of_the_floats_that_they_stand_for() {
    let case = Case::new(&[70, 1, 17, 130], &everywhere(), 4, 0.1);
    for file in ["tiny-model-q8_0.gguf", "tiny-model-q4_0.gguf"] {
        let checkpoint = quantised(file);
        for (options, expanded) in [(f32s(), WeightFormat::F32), (bf16s(), WeightFormat::Bf16)] {
            let expanded = TrainingOptions {
                format: expanded,
                ..options
            };
            let load = |options| TrainingLlama::load(&checkpoint, options).unwrap();
            let found = case.packed(&mut load(options));
            let expected = case.packed(&mut load(expanded));
            if options.dtype == DType::F32 || multiplies_bf16() {
                assert_eq!(found, expected, "{file} {:?}", options.dtype);
            } else {
                each(&case, &found.1, &expected.1, |name, found, expected| {
                    let cosine = cosine(found, expected);
                    assert!(cosine > 0.999, "{file} {name}: {cosine}");
                });
            }
            let bytes = |options| TrainingLlama::weight_bytes(&checkpoint, options).unwrap();
            assert!(2 * bytes(options) < bytes(expanded) * 3 / 2, "{file}");
        }
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
