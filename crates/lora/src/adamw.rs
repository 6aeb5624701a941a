//! `AdamW` whose moments can be saved.
//!
//! Source: Loshchilov and Hutter, "Decoupled weight decay regularization" (2019), in the order of
//! operations of torch's `_single_tensor_adamw` (`torch/optim/adam.py`, 2.15.0), which decides the
//! last bits. With gradient `g`, rate `η`, decay `λ`, in step `t`:
//!
//! ```text
//! w ← w (1 - η λ)
//! m ← m + (1 - β₁) (g - m)
//! v ← β₂ v + (1 - β₂) g²
//! w ← w - η / (1 - β₁ᵗ) · m / (√v / √(1 - β₂ᵗ) + ε)
//! ```
//!
//! `candle_nn::AdamW` does the same and keeps `m` and `v` to itself, so a run could not be resumed.

use crate::error::TrainError;
use candle_core::{Tensor, Var};
use std::collections::BTreeMap;

/// The numbers of `AdamW` that stay the same during a run. The defaults are torch's, but for the decay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWConfig {
    /// How much of the first moment a step keeps.
    pub beta1: f64,
    /// How much of the second moment a step keeps.
    pub beta2: f64,
    /// What keeps a step finite where the second moment is 0.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
        }
    }
}

/// What `AdamW` remembers of one tensor, flat, in the tensor's own order.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// The tensor's shape.
    pub shape: Vec<usize>,
    /// Running mean of the gradient (torch's `exp_avg`).
    pub first: Vec<f32>,
    /// Running mean of its square (torch's `exp_avg_sq`).
    pub second: Vec<f32>,
}

impl Moments {
    fn zeros(shape: &[usize]) -> Self {
        let count = shape.iter().product();
        Self {
            shape: shape.to_vec(),
            first: vec![0.0; count],
            second: vec![0.0; count],
        }
    }
}

/// The optimiser: a step count and the moments of every variable, by name.
///
/// ```
/// use candle_core::{Device, Var};
/// use lora::{AdamW, AdamWConfig};
/// use std::collections::BTreeMap;
///
/// let var = Var::new(&[1.0f32, -1.0], &Device::Cpu)?;
/// let vars = BTreeMap::from([("w".to_string(), var)]);
/// let mut optimizer = AdamW::new(&vars, AdamWConfig::default());
/// let gradient = BTreeMap::from([("w".to_string(), vec![0.5f32, 0.0])]);
/// optimizer.step(&vars, |name| gradient.get(name).map(Vec::as_slice), |_| 0.1)?;
/// // A first step has the size of the rate, whatever the gradient's.
/// assert!((vars["w"].to_vec1::<f32>()?[0] - 0.9).abs() < 1e-6);
/// assert_eq!(vars["w"].to_vec1::<f32>()?[1], -1.0);
/// assert_eq!((optimizer.steps(), optimizer.moments().len()), (1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct AdamW {
    config: AdamWConfig,
    steps: usize,
    moments: BTreeMap<String, Moments>,
}

impl AdamW {
    /// An optimiser that has not seen a gradient yet.
    pub fn new(vars: &BTreeMap<String, Var>, config: AdamWConfig) -> Self {
        let zeros = |(name, var): (&String, &Var)| (name.clone(), Moments::zeros(var.dims()));
        Self {
            config,
            steps: 0,
            moments: vars.iter().map(zeros).collect(),
        }
    }

    /// An optimiser that goes on after `steps` steps with the moments it had then.
    ///
    /// # Errors
    /// Moments that are missing, left over or of another shape than their variable.
    pub fn resume(
        vars: &BTreeMap<String, Var>,
        config: AdamWConfig,
        steps: usize,
        moments: BTreeMap<String, Moments>,
    ) -> Result<Self, TrainError> {
        let refuse = |name: &str, why: String| TrainError::Moments {
            name: name.into(),
            why,
        };
        for (name, var) in vars {
            let Some(found) = moments.get(name) else {
                return Err(refuse(name, "they are missing".into()));
            };
            let count = var.elem_count();
            if found.shape != var.dims() || [found.first.len(), found.second.len()] != [count; 2] {
                let why = format!(
                    "they have shape {:?}, the tensor has {:?}",
                    found.shape,
                    var.dims()
                );
                return Err(refuse(name, why));
            }
        }
        if let Some(name) = moments.keys().find(|name| !vars.contains_key(*name)) {
            return Err(refuse(name, "no trainable tensor has that name".into()));
        }
        Ok(Self {
            config,
            steps,
            moments,
        })
    }

    /// One step: `gradient(name)` for every variable, with the learning rate `rate(name)`.
    ///
    /// # Errors
    /// A variable without a gradient, or with one of another size. Nothing has moved then.
    pub fn step<'g>(
        &mut self,
        vars: &BTreeMap<String, Var>,
        gradient: impl Fn(&str) -> Option<&'g [f32]>,
        rate: impl Fn(&str) -> f64,
    ) -> Result<(), TrainError> {
        let mut moved = Vec::with_capacity(vars.len());
        for (name, var) in vars {
            let gradient = gradient(name).filter(|g| g.len() == var.elem_count());
            let gradient = gradient.ok_or_else(|| TrainError::NoGradient {
                step: self.steps + 1,
                name: name.clone(),
            })?;
            moved.push((name, var, gradient));
        }
        self.steps += 1;
        let bias = Bias::new(&self.config, self.steps);
        for (name, var, gradient) in moved {
            let mut values = var.as_detached_tensor().flatten_all()?.to_vec1::<f32>()?;
            let moments = self.moments.entry(name.clone());
            let moments = moments.or_insert_with(|| Moments::zeros(var.dims()));
            update(
                &mut values,
                gradient,
                moments,
                &self.config,
                bias,
                rate(name),
            );
            var.set(&Tensor::from_vec(values, var.dims(), var.device())?)?;
        }
        Ok(())
    }

    /// Steps made.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// The moments of every variable, by name.
    pub fn moments(&self) -> &BTreeMap<String, Moments> {
        &self.moments
    }
}

/// What makes up for moments that start at 0: `1 - β₁ᵗ` and `√(1 - β₂ᵗ)`.
#[derive(Clone, Copy)]
struct Bias {
    first: f64,
    root_of_second: f64,
}

impl Bias {
    fn new(config: &AdamWConfig, step: usize) -> Self {
        let t = step as f64;
        Self {
            first: 1.0 - config.beta1.powf(t),
            root_of_second: (1.0 - config.beta2.powf(t)).sqrt(),
        }
    }
}

/// One step of one tensor. The factors are formed in f64 and applied in f32, as torch does.
fn update(
    values: &mut [f32],
    gradient: &[f32],
    moments: &mut Moments,
    config: &AdamWConfig,
    bias: Bias,
    rate: f64,
) {
    let keep = (1.0 - rate * config.weight_decay) as f32;
    let new_first = (1.0 - config.beta1) as f32;
    let (old_second, new_second) = (config.beta2 as f32, (1.0 - config.beta2) as f32);
    let size = (rate / bias.first) as f32;
    let (root, eps) = (bias.root_of_second as f32, config.eps as f32);
    let memory = moments.first.iter_mut().zip(&mut moments.second);
    for ((w, g), (m, v)) in values.iter_mut().zip(gradient).zip(memory) {
        *w *= keep;
        *m += new_first * (g - *m);
        *v = old_second * *v + new_second * g * g;
        *w -= size * *m / (v.sqrt() / root + eps);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn vars() -> BTreeMap<String, Var> {
        let var = |x: &[f32]| Var::new(x, &Device::Cpu).unwrap();
        BTreeMap::from([("a".into(), var(&[1.0, 2.0])), ("b".into(), var(&[3.0]))])
    }

    fn step(optimizer: &mut AdamW, vars: &BTreeMap<String, Var>) {
        let t = optimizer.steps() as f32 + 1.0;
        let gradients = [vec![0.3 / t, -0.7], vec![1e-4 * t]];
        let of = |name: &str| Some(gradients[usize::from(name == "b")].as_slice());
        let rate = |name: &str| if name == "b" { 4e-2 } else { 1e-2 };
        optimizer.step(vars, of, rate).unwrap();
    }

    fn values(vars: &BTreeMap<String, Var>) -> Vec<Vec<f32>> {
        vars.values().map(|v| v.to_vec1().unwrap()).collect()
    }

    #[test]
    fn going_on_from_saved_moments_gives_the_same_bits() {
        let config = AdamWConfig {
            weight_decay: 0.1,
            ..AdamWConfig::default()
        };
        let (whole, halves) = (vars(), vars());
        let mut optimizer = AdamW::new(&whole, config);
        (0..6).for_each(|_| step(&mut optimizer, &whole));
        let mut first = AdamW::new(&halves, config);
        (0..3).for_each(|_| step(&mut first, &halves));
        let saved = first.moments().clone();
        let mut second = AdamW::resume(&halves, config, 3, saved).unwrap();
        (0..3).for_each(|_| step(&mut second, &halves));
        assert_eq!(values(&whole), values(&halves));
        assert_eq!(optimizer, second);
    }

    #[test]
    fn each_variable_has_its_own_rate() {
        let vars = vars();
        step(&mut AdamW::new(&vars, AdamWConfig::default()), &vars);
        let moved = values(&vars);
        assert!((moved[0][1] - 2.01).abs() < 1e-6 && (moved[1][0] - 2.96).abs() < 1e-5);
    }

    #[test]
    fn a_missing_gradient_moves_nothing() {
        let vars = vars();
        let mut optimizer = AdamW::new(&vars, AdamWConfig::default());
        let only_a = |name: &str| (name == "a").then_some(&[1.0f32, 1.0][..]);
        let error = optimizer.step(&vars, only_a, |_| 0.1).unwrap_err();
        assert!(error.to_string().contains("`b` got no gradient"), "{error}");
        assert_eq!((optimizer.steps(), values(&vars)[0][0]), (0, 1.0));
    }

    #[test]
    fn moments_that_do_not_fit_are_named() {
        let vars = vars();
        let fails = |moments| {
            let result = AdamW::resume(&vars, AdamWConfig::default(), 1, moments);
            result.unwrap_err().to_string()
        };
        let good = AdamW::new(&vars, AdamWConfig::default()).moments;
        let mut missing = good.clone();
        missing.remove("b");
        assert!(fails(missing).contains("`b`: they are missing"));
        let mut longer = good.clone();
        longer.insert("b".into(), Moments::zeros(&[2]));
        assert!(fails(longer).contains("[2], the tensor has [1]"));
        let mut more = good;
        more.insert("c".into(), Moments::zeros(&[2]));
        assert!(fails(more).contains("`c`"));
    }
}
