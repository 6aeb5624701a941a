//! Schedules, clipping and the optimisers against transformers, torch and lion-pytorch (`tests/golden/make.py`), and the size
//! of NEFTune's noise (`fixtures/scripts/golden_lora_variants.py`).

use crate::average::Average;
use crate::gradients::Gradients;
use crate::optim::{
    AdafactorConfig, AdamWConfig, LionConfig, MuonConfig, Optim, Optimizer, SgdConfig,
};
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
struct OptimCase {
    optim: String,
    #[serde(default)]
    momentum: f64,
    #[serde(default)]
    nesterov: bool,
    beta2: Option<f64>,
    weight_decay: f64,
    shapes: Vec<Vec<usize>>,
    starts: Vec<Vec<f32>>,
    steps: Vec<OptimStep>,
}

#[derive(Deserialize)]
struct OptimStep {
    lr: f64,
    grads: Vec<Vec<f32>>,
    norm: f64,
    params: Vec<Vec<f32>>,
}

impl OptimCase {
    /// The optimiser, and how far values may be from its reference's.
    fn optim(&self) -> (Optim, f32) {
        let momentum = self.momentum;
        match self.optim.as_str() {
            "adamw" => (
                Optim::AdamW(AdamWConfig {
                    beta2: self.beta2.unwrap_or(0.999),
                    ..AdamWConfig::default()
                }),
                1.2e-7,
            ),
            "sgd" => {
                let nesterov = self.nesterov;
                (Optim::Sgd(SgdConfig { momentum, nesterov }), 1.2e-7)
            }
            // Means of rows and columns in another order, and a norm.
            "adafactor" => (Optim::Adafactor(AdafactorConfig), 1e-6),
            "lion" => (Optim::Lion(LionConfig::default()), 1.2e-7),
            // Five steps of products in another order; bf16 ones as torch has them.
            "muon" => (Optim::Muon(MuonConfig::default()), 2e-6),
            "muon_bf16" => (Optim::Muon(MuonConfig::default()), 4e-3),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn clipping_and_optimisers_equal_their_references() {
    let golden = include_str!("../tests/golden/optimisers.json");
    let golden: Cases<OptimCase> = serde_json::from_str(golden).unwrap();
    let mut farthest: BTreeMap<String, f32> = BTreeMap::new();
    for case in golden.cases {
        let named = case.starts.iter().zip(&case.shapes).enumerate();
        let var = |(i, (x, shape)): (usize, (&Vec<f32>, &Vec<usize>))| {
            let tensor = Tensor::from_slice(x, shape.as_slice(), &Device::Cpu).unwrap();
            (i.to_string(), Var::from_tensor(&tensor).unwrap())
        };
        let vars: BTreeMap<String, Var> = named.map(var).collect();
        let (optim, tolerance) = case.optim();
        let mut optimizer = Optimizer::new(&vars, optim, case.weight_decay);
        for (index, step) in case.steps.iter().enumerate() {
            let mut window = Gradients::new(&vars, index + 1);
            window.add(given(&vars, &step.grads)).unwrap();
            let (norm, grads) = window.clip(1.0).unwrap();
            assert!((norm / step.norm - 1.0).abs() < 1e-6, "{norm}");
            let flat = |var: &Var| values(grads.get(var).unwrap());
            let flat: BTreeMap<&str, Vec<f32>> =
                vars.iter().map(|(n, v)| (n.as_str(), flat(v))).collect();
            let gradient = |name: &str| flat.get(name).map(Vec::as_slice);
            optimizer.step(&vars, gradient, |_| step.lr).unwrap();
            for (var, theirs) in vars.values().zip(&step.params) {
                let far = farthest.entry(case.optim.clone()).or_default();
                for (a, b) in values(var).iter().zip(theirs) {
                    *far = far.max((a - b).abs());
                    let (optim, step) = (&case.optim, index + 1);
                    assert!((a - b).abs() < tolerance, "{optim}, step {step}: {a} {b}");
                }
            }
        }
    }
    assert_eq!(farthest.len(), 6);
    println!("{farthest:?}");
}

#[derive(Deserialize)]
struct AverageCase {
    decay: f64,
    steps: Vec<AverageStep>,
}

#[derive(Deserialize)]
struct AverageStep {
    values: Vec<Vec<f32>>,
    averages: Vec<Vec<f32>>,
}

#[test]
fn the_average_is_that_of_torchs_averaged_model() {
    let golden = include_str!("../tests/golden/averages.json");
    let golden: Cases<AverageCase> = serde_json::from_str(golden).unwrap();
    assert_eq!(golden.cases.len(), 3);
    for case in golden.cases {
        let first = case.steps[0].values.iter().enumerate();
        let var = |(i, x): (usize, &Vec<f32>)| {
            let zeros = Var::zeros(x.len(), candle_core::DType::F32, &Device::Cpu);
            (i.to_string(), zeros.unwrap())
        };
        let vars: BTreeMap<String, Var> = first.map(var).collect();
        let mut average = Average::new(case.decay);
        for step in &case.steps {
            for (var, now) in vars.values().zip(&step.values) {
                var.set(&Tensor::new(now.as_slice(), &Device::Cpu).unwrap())
                    .unwrap();
            }
            average.update(&vars).unwrap();
            let look = || Ok(vars.values().map(|v| values(v)).collect::<Vec<_>>());
            let ours = average.lend(&vars, look).unwrap().concat();
            for (a, b) in ours.iter().zip(step.averages.concat()) {
                // torch's lanes multiply and add in one on some CPUs, which is a last bit of values around 1 now and then,
                // and the average remembers it.
                assert!((a - b).abs() <= 2.4e-7 * b.abs().max(1.0), "{a} {b}");
            }
            // And the variables are their own again.
            let own: Vec<Vec<f32>> = vars.values().map(|v| values(v)).collect();
            assert_eq!(own, step.values);
        }
    }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// A store with the given gradients: those of `sum(var * grad)`.
fn given(vars: &BTreeMap<String, Var>, grads: &[Vec<f32>]) -> candle_core::backprop::GradStore {
    let parts = vars.values().zip(grads).map(|(var, grad)| {
        let grad = Tensor::from_slice(grad, var.dims(), &Device::Cpu).unwrap();
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
