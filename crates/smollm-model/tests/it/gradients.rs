//! The gradient of the loss of the whole model against finite differences.

use candle_core::backprop::GradStore;
use candle_core::{Device, Var};
use smollm_model::{Llama, LowRank, Mode, Projection, Ragged};

use crate::{golden, ids, tiny};

const RANK: usize = 4;

/// Adapters on every projection, `B` filled so that nothing is zero; returns them by name.
fn attach(model: &mut Llama, dropout: f32) -> Vec<(String, Var)> {
    let config = model.config().clone();
    let mut vars = Vec::new();
    let values = |n: usize, key: usize, size: f32| -> Vec<f32> {
        (0..n)
            .map(|i| size * ((i * 7919 + key * 104_729 + 17) as f32 * 0.37).sin())
            .collect()
    };
    for layer in 0..config.num_hidden_layers {
        for (i, projection) in Projection::ALL.into_iter().enumerate() {
            let (out, inputs) = projection.dims(&config);
            let key = layer * 16 + 2 * i;
            let a = Var::from_vec(
                values(RANK * inputs, key, 0.1),
                (RANK, inputs),
                &Device::Cpu,
            );
            let b = Var::from_vec(values(out * RANK, key + 1, 0.05), (out, RANK), &Device::Cpu);
            let (a, b) = (a.unwrap(), b.unwrap());
            model.linear_mut(layer, projection).low_rank = Some(LowRank {
                a: a.as_tensor().clone(),
                b: b.as_tensor().clone(),
                scale: 1.5,
                dropout,
                // Its gradient takes norms for constants, which a finite difference does not.
                magnitude: None,
            });
            vars.push((format!("{layer}.{}.A", projection.name()), a));
            vars.push((format!("{layer}.{}.B", projection.name()), b));
        }
    }
    vars
}

fn loss(model: &Llama, mode: Mode) -> (f64, GradStore) {
    let prompts = golden("logits.json");
    let sequences: Vec<Vec<u32>> = prompts["prompts"]
        .as_array()
        .unwrap()
        .iter()
        .take(2)
        .map(|p| ids(&p["ids"]))
        .collect();
    let batch = Ragged::new(&sequences).unwrap();
    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    for range in batch.segments().iter() {
        for row in range.start..range.end - 1 {
            rows.push(row as u32);
            targets.push(batch.ids()[row + 1]);
        }
    }
    let nll = model
        .nll(
            &model.hidden(&batch, mode).unwrap(),
            (&rows, &targets),
            mode,
        )
        .unwrap();
    (
        f64::from(nll.to_scalar::<f32>().unwrap()),
        nll.backward().unwrap(),
    )
}

fn largest(values: &[f32]) -> usize {
    (0..values.len())
        .max_by(|&i, &j| values[i].abs().total_cmp(&values[j].abs()))
        .unwrap()
}

#[test]
fn gradients_of_every_adapter_match_finite_differences() {
    let mut model = tiny();
    let vars = attach(&mut model, 0.1);
    let mode = Mode::Train { dropout_seed: 5 };
    let (_, grads) = loss(&model, mode);
    for (name, var) in &vars {
        let gradient = grads
            .get(var)
            .unwrap_or_else(|| panic!("{name} got no gradient"));
        let gradient = gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(
            gradient.iter().all(|g| g.is_finite() && *g != 0.0),
            "{name}: zero or not finite"
        );
        // Moving along the gradient's own direction gives the largest change for a step.
        let norm = gradient
            .iter()
            .map(|g| f64::from(*g).powi(2))
            .sum::<f64>()
            .sqrt();
        let original = var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let at = |step: f64| {
            let moved = original.iter().zip(&gradient);
            let moved = moved.map(|(x, g)| (f64::from(*x) + step * f64::from(*g) / norm) as f32);
            let moved =
                Var::from_vec(moved.collect::<Vec<_>>(), var.shape(), &Device::Cpu).unwrap();
            var.set(&moved).unwrap();
            loss(&model, mode).0
        };
        let h = 2e-2;
        let slope = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
        at(0.0);
        let error = (slope - norm).abs() / norm;
        let bound = 2e-3 + 2e-4 / norm;
        assert!(
            error < bound,
            "{name}: slope {slope} against {norm} (largest at {})",
            largest(&gradient)
        );
    }
}

#[test]
fn the_same_dropout_seed_gives_the_same_loss() {
    let mut model = tiny();
    attach(&mut model, 0.5);
    let at = |dropout_seed| loss(&model, Mode::Train { dropout_seed }).0.to_bits();
    assert_eq!(at(1), at(1));
    assert_ne!(at(1), at(2));
    assert_ne!(at(1), loss(&model, Mode::Eval).0.to_bits());
}
