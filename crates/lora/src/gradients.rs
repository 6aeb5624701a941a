//! The gradients of one accumulation window.

use crate::error::TrainError;
use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};
use std::collections::BTreeMap;

/// What keeps `clip_grad_norm_` from dividing by zero (`torch/nn/utils/clip_grad.py`).
const CLIP_EPS: f64 = 1e-6;

/// Sums of gradients, one for each variable.
pub(crate) struct Gradients<'a> {
    vars: &'a BTreeMap<String, Var>,
    step: usize,
    sums: Option<GradStore>,
}

impl<'a> Gradients<'a> {
    pub(crate) fn new(vars: &'a BTreeMap<String, Var>, step: usize) -> Self {
        Self {
            vars,
            step,
            sums: None,
        }
    }

    /// Adds the gradients of one micro-batch.
    pub(crate) fn add(&mut self, mut grads: GradStore) -> Result<(), TrainError> {
        if let Some(sums) = &self.sums {
            for (name, var) in self.vars {
                let (old, new) = (sums.get(var), grads.get(var));
                let (Some(old), Some(new)) = (old, new) else {
                    return Err(self.no_gradient(name));
                };
                let sum = (old + new)?;
                grads.insert(var, sum);
            }
        }
        self.sums = Some(grads);
        Ok(())
    }

    /// Scales all gradients so that their common L2 norm is at most `max_norm` (0: no limit), as
    /// torch's `clip_grad_norm_` does; returns the norm before, and the gradients for an optimiser.
    pub(crate) fn clip(mut self, max_norm: f64) -> Result<(f64, GradStore), TrainError> {
        let norm = self.norm()?;
        let scale = max_norm / (norm + CLIP_EPS);
        let vars = self.vars;
        let first = vars.keys().next().cloned().unwrap_or_default();
        let mut sums = self.sums.take().ok_or(TrainError::NoGradient {
            step: self.step,
            name: first,
        })?;
        if max_norm > 0.0 && scale < 1.0 {
            for var in vars.values() {
                if let Some(grad) = sums.remove(var) {
                    sums.insert(var, (grad * scale)?);
                }
            }
        }
        Ok((norm, sums))
    }

    /// The L2 norm over all gradients: f64, one order of summation, whatever the threads.
    fn norm(&self) -> Result<f64, TrainError> {
        let mut total = 0.0;
        for (name, var) in self.vars {
            let grad = self.sums.as_ref().and_then(|sums| sums.get(var));
            let grad = grad.ok_or_else(|| self.no_gradient(name))?;
            let square = sum_of_squares(grad)?;
            if !square.is_finite() {
                return Err(TrainError::NotFinite {
                    step: self.step,
                    what: format!("the gradient of `{name}`"),
                    value: square,
                });
            }
            total += square;
        }
        Ok(total.sqrt())
    }

    fn no_gradient(&self, name: &str) -> TrainError {
        TrainError::NoGradient {
            step: self.step,
            name: name.into(),
        }
    }
}

fn sum_of_squares(tensor: &Tensor) -> Result<f64, TrainError> {
    let values = tensor.flatten_all()?.to_vec1::<f32>()?;
    Ok(values.iter().map(|&x| f64::from(x) * f64::from(x)).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn vars() -> BTreeMap<String, Var> {
        let var = |x: &[f32]| Var::new(x, &Device::Cpu).unwrap();
        BTreeMap::from([("x".into(), var(&[3.0])), ("y".into(), var(&[4.0, 0.0]))])
    }

    /// The gradient of `(x^2 + y^2) / 2` is `(x, y)`.
    fn grads(vars: &BTreeMap<String, Var>, scale: f64) -> GradStore {
        let half = |v: &Var| (v.sqr().unwrap().sum_all().unwrap() * (0.5 * scale)).unwrap();
        let sum = (half(&vars["x"]) + half(&vars["y"])).unwrap();
        sum.backward().unwrap()
    }

    fn values(grads: &GradStore, var: &Var) -> Vec<f32> {
        grads.get(var).unwrap().to_vec1().unwrap()
    }

    #[test]
    fn sums_then_clips_as_torch() {
        let vars = vars();
        let mut window = Gradients::new(&vars, 1);
        window.add(grads(&vars, 1.0)).unwrap();
        window.add(grads(&vars, 1.0)).unwrap();
        let (norm, clipped) = window.clip(1.0).unwrap();
        assert_eq!(norm, 10.0);
        let scale = (1.0 / (10.0 + 1e-6)) as f32;
        assert_eq!(values(&clipped, &vars["x"]), [6.0 * scale]);
        assert_eq!(values(&clipped, &vars["y"]), [8.0 * scale, 0.0]);
    }

    #[test]
    fn small_gradients_and_no_limit_are_left_alone() {
        let vars = vars();
        for limit in [5.1, 0.0] {
            let mut window = Gradients::new(&vars, 1);
            window.add(grads(&vars, 1.0)).unwrap();
            let (norm, same) = window.clip(limit).unwrap();
            assert_eq!((norm, values(&same, &vars["x"])), (5.0, vec![3.0]));
        }
    }

    #[test]
    fn a_gradient_that_is_no_number_is_named() {
        let vars = vars();
        let mut window = Gradients::new(&vars, 9);
        let mut bad = grads(&vars, 1.0);
        bad.insert(
            &vars["y"],
            Tensor::new(&[f32::NAN, 0.0], &Device::Cpu).unwrap(),
        );
        window.add(bad).unwrap();
        let error = window.clip(1.0).unwrap_err().to_string();
        assert!(error.contains("step 9") && error.contains("`y`"), "{error}");
    }

    #[test]
    fn a_missing_gradient_is_named() {
        let vars = vars();
        let mut window = Gradients::new(&vars, 2);
        let only_x = vars["x"].sqr().unwrap().sum_all().unwrap();
        window.add(only_x.backward().unwrap()).unwrap();
        let error = window.clip(1.0).unwrap_err().to_string();
        assert!(error.contains("`y` got no gradient"), "{error}");
    }
}
