//! `AdamW`.
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

use super::{Place, Rule, Tensors};

/// The numbers of `AdamW` that stay the same during a run. The defaults are torch's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWConfig {
    /// How much of the first moment a step keeps.
    pub beta1: f64,
    /// How much of the second moment a step keeps.
    pub beta2: f64,
    /// What keeps a step finite where the second moment is 0.
    pub eps: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
        }
    }
}

impl Rule for AdamWConfig {
    fn buffers(&self, shape: &[usize]) -> Vec<(&'static str, Vec<usize>)> {
        let same = |name| (name, shape.to_vec());
        vec![same("exp_avg"), same("exp_avg_sq")]
    }

    /// The factors are formed in f64 and applied in f32, as torch does.
    fn update(&self, at: Place<'_>, tensors: Tensors<'_>) {
        let Tensors {
            values,
            gradient,
            memory: [first, second],
        } = tensors
        else {
            unreachable!("AdamW has two buffers");
        };
        let t = at.step as f64;
        let keep = (1.0 - at.rate * at.weight_decay) as f32;
        let new_first = (1.0 - self.beta1) as f32;
        let (old_second, new_second) = (self.beta2 as f32, (1.0 - self.beta2) as f32);
        // What makes up for moments that start at 0.
        let size = (at.rate / (1.0 - self.beta1.powf(t))) as f32;
        let (root, eps) = ((1.0 - self.beta2.powf(t)).sqrt() as f32, self.eps as f32);
        let memory = first.values.iter_mut().zip(&mut second.values);
        for ((w, g), (m, v)) in values.iter_mut().zip(gradient).zip(memory) {
            *w *= keep;
            *m += new_first * (g - *m);
            *v = old_second * *v + new_second * g * g;
            *w -= size * *m / (v.sqrt() / root + eps);
        }
    }
}
