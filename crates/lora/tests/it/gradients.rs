//! Gradients: PEFT's, all there, none where there must be none, and what differences say.

use crate::support::{adapter, distance, fixture, json, model, names, tensors, three_rows, values};
use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor};
use lora::{Adapter, Factor, Sample, Trainable};
use smollm_model::{Llama, Mode, Ragged};

/// Mean negative log-likelihood of the rows, as a differentiable scalar.
pub(crate) fn loss(model: &Llama, rows: &[Sample]) -> Tensor {
    let inputs: Vec<&[u32]> = rows.iter().map(|row| row.ids.as_slice()).collect();
    let batch = Ragged::new(&inputs).unwrap();
    let mode = Mode::Train { dropout_seed: 0 };
    let hidden = model.hidden(&batch, mode).unwrap();
    let (mut places, mut targets) = (Vec::new(), Vec::new());
    for (row, range) in rows.iter().zip(batch.segments().iter()) {
        for &label in &row.labels {
            places.push((range.start + label - 1) as u32);
            targets.push(row.ids[label]);
        }
    }
    let nll = model.nll(&hidden, (&places, &targets), mode).unwrap();
    (nll / targets.len() as f64).unwrap()
}

fn number(tensor: &Tensor) -> f64 {
    f64::from(tensor.to_scalar::<f32>().unwrap())
}

fn gradients(start: &Adapter) -> (Llama, Trainable, GradStore) {
    let mut model = model(DType::F32);
    let trainable = Trainable::attach(start, &mut model).unwrap();
    let grads = loss(&model, &three_rows()).backward().unwrap();
    (model, trainable, grads)
}

#[test]
fn gradients_equal_pefts() {
    let golden = tensors("goldens/lora_step/grads.safetensors");
    let step = json("goldens/lora_step/step.json");
    let start = Adapter::load(fixture("goldens/lora_step")).unwrap();
    let (model, trainable, grads) = gradients(&start);
    let ours = number(&loss(&model, &three_rows()));
    assert!(
        (ours - step["loss"].as_f64().unwrap()).abs() < 1e-5,
        "{ours}"
    );
    assert_eq!(golden.len(), trainable.vars().len());
    for (name, var) in trainable.vars() {
        let theirs = &golden[name];
        let scale = values(theirs).iter().fold(0f32, |m, x| m.max(x.abs()));
        let far = distance(grads.get(var).unwrap(), theirs);
        assert!(far <= 2e-5 * scale, "{name}: {far} of {scale}");
    }
}

#[test]
fn with_b_random_every_variable_has_a_finite_gradient_that_is_not_zero() {
    let (_, trainable, grads) = gradients(&adapter(&model(DType::F32), true));
    for (name, var) in trainable.vars() {
        let grad = values(grads.get(var).unwrap());
        assert!(grad.iter().all(|x| x.is_finite()), "{name}");
        assert!(grad.iter().any(|&x| x != 0.0), "{name}");
    }
}

#[test]
fn with_b_zero_the_gradient_of_a_is_zero_and_that_of_b_is_not() {
    let start = adapter(&model(DType::F32), false);
    let (_, trainable, grads) = gradients(&start);
    let grad = |name: &String| values(grads.get(&trainable.vars()[name]).unwrap());
    for name in names(&start, Factor::A) {
        assert!(grad(&name).iter().all(|&x| x == 0.0), "{name}");
    }
    for name in names(&start, Factor::B) {
        assert!(grad(&name).iter().any(|&x| x != 0.0), "{name}");
    }
}

#[test]
fn nothing_frozen_gets_a_gradient() {
    let (model, _, grads) = gradients(&adapter(&model(DType::F32), true));
    for (name, weight) in model.named_weights() {
        assert!(grads.get(weight).is_none(), "{name}");
    }
    // Nothing of a weight's shape hides among the gradients under another identity either; A and B
    // have other shapes.
    let shapes: Vec<_> = model
        .named_weights()
        .iter()
        .map(|(_, w)| w.dims().to_vec())
        .collect();
    for grad in grads.get_ids().filter_map(|&id| grads.get_id(id)) {
        assert!(!shapes.contains(&grad.dims().to_vec()), "{:?}", grad.dims());
    }
}

/// The loss along the gradient changes by the gradient's norm, through the whole model.
#[test]
fn differences_agree_with_the_gradient() {
    let (model, trainable, grads) = gradients(&adapter(&model(DType::F32), true));
    for (name, var) in trainable.vars() {
        let grad = grads.get(var).unwrap();
        let norm = values(grad)
            .iter()
            .map(|&x| f64::from(x).powi(2))
            .sum::<f64>()
            .sqrt();
        let start = var.as_detached_tensor().copy().unwrap();
        // Wide enough that the loss moves by much more than its rounding, about 1e-6.
        let width = 4e-3 / norm.max(0.02);
        let at = |t: f64| {
            var.set(&(&start + (grad * (t / norm)).unwrap()).unwrap())
                .unwrap();
            number(&loss(&model, &three_rows()))
        };
        // Fourth order: what is left of the curvature is far below the tolerance.
        let slope = (8.0 * (at(width) - at(-width)) - (at(2.0 * width) - at(-2.0 * width)))
            / (12.0 * width);
        var.set(&start).unwrap();
        assert!((slope / norm - 1.0).abs() < 0.01, "{name}: {slope} {norm}");
    }
}
