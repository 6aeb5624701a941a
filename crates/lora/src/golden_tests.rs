//! Schedules, clipping and the optimiser against transformers and torch (`tests/golden/make.py`), and the size of NEFTune's
//! noise (`fixtures/scripts/golden_lora_variants.py`).

use crate::adamw::{AdamW, AdamWConfig};
use crate::gradients::Gradients;
use crate::sample::noise_bound;
use crate::schedule::LearningRate;
use candle_core::{Device, Tensor, Var};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Cases<T> {
    cases: Vec<T>,
}

#[derive(Deserialize)]
struct ScheduleCase {
    schedule: String,
    peak: f64,
    ratio: f64,
    warmup_steps: Option<usize>,
    decay_steps: Option<usize>,
    total: usize,
    warmup: usize,
    rates: Vec<f64>,
}

#[test]
fn schedules_equal_transformers() {
    let golden = include_str!("../tests/golden/schedules.json");
    let golden: Cases<ScheduleCase> = serde_json::from_str(golden).unwrap();
    assert_eq!(golden.cases.len(), 64);
    for case in golden.cases {
        let schedule = case.schedule.parse().unwrap();
        let ours = LearningRate::new(case.peak, schedule, case.ratio, case.total)
            .warming_up(case.warmup_steps)
            .decaying(case.decay_steps);
        assert_eq!(ours.warmup_steps(), case.warmup);
        for (index, theirs) in case.rates.into_iter().enumerate() {
            let difference = (ours.at(index) - theirs).abs();
            assert!(
                difference <= 1e-15 * case.peak,
                "{schedule} at {index} of {}",
                case.total
            );
        }
    }
}

#[derive(Deserialize)]
struct AdamCase {
    weight_decay: f64,
    starts: Vec<Vec<f32>>,
    steps: Vec<AdamStep>,
}

#[derive(Deserialize)]
struct AdamStep {
    lr: f64,
    grads: Vec<Vec<f32>>,
    norm: f64,
    params: Vec<Vec<f32>>,
}

#[test]
fn clipping_and_adamw_equal_torch() {
    let golden = include_str!("../tests/golden/adamw.json");
    let golden: Cases<AdamCase> = serde_json::from_str(golden).unwrap();
    for case in golden.cases {
        let named = case.starts.iter().enumerate();
        let var = |(i, x): (usize, &Vec<f32>)| (i.to_string(), tensor_var(x));
        let vars: BTreeMap<String, Var> = named.map(var).collect();
        let config = AdamWConfig {
            weight_decay: case.weight_decay,
            ..AdamWConfig::default()
        };
        let mut optimizer = AdamW::new(&vars, config);
        for (index, step) in case.steps.iter().enumerate() {
            let mut window = Gradients::new(&vars, index + 1);
            window.add(given(&vars, &step.grads)).unwrap();
            let (norm, grads) = window.clip(1.0).unwrap();
            assert!((norm / step.norm - 1.0).abs() < 1e-6, "{norm}");
            let flat = |var: &Var| grads.get(var).unwrap().to_vec1::<f32>().unwrap();
            let flat: BTreeMap<&str, Vec<f32>> =
                vars.iter().map(|(n, v)| (n.as_str(), flat(v))).collect();
            let gradient = |name: &str| flat.get(name).map(Vec::as_slice);
            optimizer.step(&vars, gradient, |_| step.lr).unwrap();
            for (var, theirs) in vars.values().zip(&step.params) {
                let ours = var.to_vec1::<f32>().unwrap();
                for (a, b) in ours.iter().zip(theirs) {
                    assert!((a - b).abs() < 1.2e-7, "step {}: {a} {b}", index + 1);
                }
            }
        }
    }
}

fn tensor_var(values: &[f32]) -> Var {
    Var::new(values, &Device::Cpu).unwrap()
}

/// A store with the given gradients: those of `sum(var * grad)`.
fn given(vars: &BTreeMap<String, Var>, grads: &[Vec<f32>]) -> candle_core::backprop::GradStore {
    let parts = vars.values().zip(grads).map(|(var, grad)| {
        let grad = Tensor::new(grad.as_slice(), &Device::Cpu).unwrap();
        (var.as_tensor() * grad).unwrap().sum_all().unwrap()
    });
    let total = parts.reduce(|a, b| (a + b).unwrap()).unwrap();
    total.backward().unwrap()
}

#[derive(Deserialize)]
struct Noise {
    tokens: usize,
    hidden: usize,
    largest: f64,
    deviation: f64,
    in_evaluation: f64,
}

#[test]
fn neftunes_noise_is_as_large_as_that_of_transformers() {
    let golden = include_str!("../../../fixtures/goldens/neftune.json");
    let alpha: serde_json::Value = serde_json::from_str(golden).unwrap();
    let alpha = alpha["alpha"].as_f64().unwrap();
    let golden: Cases<Noise> = serde_json::from_str(golden).unwrap();
    assert_eq!(golden.cases.len(), 3);
    for case in golden.cases {
        let bound = f64::from(noise_bound(alpha, case.tokens, case.hidden));
        let largest = case.largest / bound;
        // Millions of draws come close to their bound.
        assert!((0.999..1.000_01).contains(&largest), "{largest}");
        let uniform = case.deviation / (bound / 3f64.sqrt());
        assert!((uniform - 1.0).abs() < 1e-3, "{uniform}");
        assert_eq!(case.in_evaluation, 0.0);
    }
}
