//! Stochastic gradient descent, with momentum or without.
//!
//! Source: torch's `_single_tensor_sgd` (`torch/optim/sgd.py`, 2.15.0), without dampening. Its weight
//! decay is L2, a part of the gradient, not decoupled. With momentum `μ`:
//!
//! ```text
//! g ← g + λ w
//! b ← μ b + g             (b ← g in the first step)
//! w ← w - η b             (Nesterov: w ← w - η (g + μ b))
//! ```

use super::{Place, Rule, Tensors};

/// What stays the same during a run. The defaults are torch's.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SgdConfig {
    /// How much of the last step's direction a step keeps; with 0 nothing is remembered.
    pub momentum: f64,
    /// Look ahead (Nesterov).
    pub nesterov: bool,
}

impl Rule for SgdConfig {
    fn buffers(&self, shape: &[usize]) -> Vec<(&'static str, Vec<usize>)> {
        if self.momentum == 0.0 {
            Vec::new()
        } else {
            vec![("momentum_buffer", shape.to_vec())]
        }
    }

    fn update(&self, at: Place<'_>, tensors: Tensors<'_>) {
        let (rate, decay) = (at.rate as f32, at.weight_decay as f32);
        let momentum = self.momentum as f32;
        let places = tensors.values.iter_mut().zip(tensors.gradient);
        let [buffer] = tensors.memory else {
            places.for_each(|(w, g)| *w -= rate * (g + decay * *w));
            return;
        };
        for ((w, g), b) in places.zip(&mut buffer.values) {
            let g = g + decay * *w;
            // A buffer that starts at 0 is the first gradient after the first step.
            *b = momentum * *b + g;
            *w -= rate * if self.nesterov { g + momentum * *b } else { *b };
        }
    }
}
