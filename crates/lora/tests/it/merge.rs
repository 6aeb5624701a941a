//! Attached, merged, undone.

use crate::support::{adapter, distance, last_logits, model, three_rows, values};
use candle_core::DType;
use lora::{Adapter, LoraConfig, Trainable};

#[test]
fn merged_equals_attached_with_alpha_unlike_r() {
    for (dtype, tolerance) in [(DType::F32, 5e-5), (DType::BF16, 0.2)] {
        let mut model = model(dtype);
        let adapter = adapter(&model, true);
        assert_ne!(adapter.config().scale(), 1.0);
        let base = last_logits(&model, &three_rows());
        adapter.attach(&mut model).unwrap();
        let attached = last_logits(&model, &three_rows());
        lora::detach(&mut model);
        assert_eq!(values(&last_logits(&model, &three_rows())), values(&base));
        let merged = adapter.merge_into(&mut model).unwrap();
        let far = distance(&last_logits(&model, &three_rows()), &attached);
        assert!(far < tolerance, "{dtype:?}: {far}");
        assert!(
            distance(&base, &attached) > 10.0 * far,
            "the adapter must matter"
        );
        assert_eq!(model.dtype(), dtype);
        merged.undo(&mut model);
        assert_eq!(values(&last_logits(&model, &three_rows())), values(&base));
    }
}

#[test]
fn a_fresh_adapter_changes_nothing() {
    let mut model = model(DType::F32);
    let base = last_logits(&model, &three_rows());
    adapter(&model, false).attach(&mut model).unwrap();
    assert_eq!(values(&last_logits(&model, &three_rows())), values(&base));
}

#[test]
fn the_last_adapter_attached_is_the_one_that_counts() {
    let mut model = model(DType::F32);
    adapter(&model, true).attach(&mut model).unwrap();
    let few = LoraConfig {
        target_modules: "q_proj".parse().unwrap(),
        ..LoraConfig::default()
    };
    let base = last_logits(&crate::support::model(DType::F32), &three_rows());
    Adapter::init(model.config(), few, 1)
        .unwrap()
        .attach(&mut model)
        .unwrap();
    assert_eq!(values(&last_logits(&model, &three_rows())), values(&base));
}

#[test]
fn variables_start_as_the_adapter_and_are_its_copies() {
    let mut model = model(DType::F32);
    let start = adapter(&model, true);
    let trainable = Trainable::attach(&start, &mut model).unwrap();
    let before = trainable.to_adapter().unwrap();
    for var in trainable.vars().values() {
        var.set(&var.zeros_like().unwrap()).unwrap();
    }
    for (name, tensor) in start.tensors() {
        assert_eq!(values(tensor), values(before.tensors()[&name]), "{name}");
        assert!(values(tensor).iter().any(|&x| x != 0.0), "{name}");
    }
}
