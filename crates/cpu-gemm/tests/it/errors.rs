//! Hostile shapes are refused before anything is allocated for them.

use cpu_gemm::{Format, GemmError, PackedMatrix};
use proptest::prelude::*;

fn all() -> Vec<Format> {
    let mut all = vec![Format::F32, Format::Bf16];
    all.extend(Format::QUANTISED);
    all
}

#[test]
fn messages_name_what_was_found_and_expected() {
    let refused = |r: Result<PackedMatrix, GemmError>| r.unwrap_err().to_string();
    let text = refused(PackedMatrix::from_f32(&[0.0; 48], 1, 48, Format::Q8_0));
    assert!(
        text.contains("48") && text.contains("multiple of 32"),
        "{text}"
    );
    let text = refused(PackedMatrix::from_ggml(Format::Q4_K, &[], 1, 576, &|i| i));
    assert!(text.contains("multiple of 256"), "{text}");
    let text = refused(PackedMatrix::from_ggml(
        Format::Q8_0,
        &[0; 33],
        1,
        32,
        &|i| i,
    ));
    assert!(
        text.contains("34 bytes") && text.contains("found 33"),
        "{text}"
    );
    for format in [Format::Q4_K, Format::Q5_K, Format::Q6_K] {
        let text = refused(PackedMatrix::from_f32(&[0.0; 256], 1, 256, format));
        assert!(text.contains(format.name()), "{text}");
    }
    let text = refused(PackedMatrix::from_ggml(Format::F32, &[0; 8], 2, 1, &|i| {
        i + 1
    }));
    assert!(text.contains("row 1") && text.contains("row 2"), "{text}");
    assert_eq!(
        PackedMatrix::stack(Vec::new()).unwrap_err(),
        GemmError::NothingToStack
    );
}

#[test]
fn parts_of_a_stack_must_fit() {
    let zeros = |n, k, f| PackedMatrix::from_f32(&vec![0.0; n * k], n, k, f).unwrap();
    let sixteen = || zeros(16, 32, Format::F32);
    let stack = |parts| PackedMatrix::stack(parts);
    assert!(stack(vec![sixteen(), zeros(3, 32, Format::F32)]).is_ok());
    assert!(stack(vec![zeros(3, 32, Format::F32), sixteen()]).is_err());
    assert!(stack(vec![sixteen(), zeros(16, 64, Format::F32)]).is_err());
    assert!(stack(vec![sixteen(), zeros(16, 32, Format::Bf16)]).is_err());
}

proptest! {
    #[test]
    fn any_shape_and_length_gives_an_error_or_a_matrix(
        n in prop_oneof![0usize..40, Just(usize::MAX), Just(usize::MAX / 16), Just(1 << 60)],
        k in prop_oneof![0usize..600, Just(usize::MAX), Just(usize::MAX & !255), Just(1 << 62)],
        length in 0usize..4096,
        format in prop::sample::select(all()),
    ) {
        let bytes = vec![0u8; length];
        if let Ok(matrix) = PackedMatrix::from_ggml(format, &bytes, n, k, &|i| i) {
            prop_assert_eq!((matrix.n(), matrix.k()), (n, k));
        }
        let floats = vec![1f32; length];
        if PackedMatrix::from_f32(&floats, n, k, format).is_ok() {
            prop_assert_eq!(n * k, length);
        }
        let halves = vec![half::bf16::ONE; length];
        if PackedMatrix::from_bf16(&halves, n, k, format).is_ok() {
            prop_assert_eq!(n * k, length);
        }
    }
}
