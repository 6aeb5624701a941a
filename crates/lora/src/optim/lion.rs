//! Lion: the sign of a moving average.
//!
//! Source: Chen et al., "Symbolic discovery of optimization algorithms" (2023), algorithm 2, in the
//! order of operations of `lion-pytorch` 0.2.5:
//!
//! ```text
//! w ← w (1 - η λ)
//! w ← w - η sign(β₁ m + (1 - β₁) g)
//! m ← β₂ m + (1 - β₂) g
//! ```
//!
//! Every element moves by the whole rate, so the paper takes a rate of a third to a tenth of
//! `AdamW`'s, and a decay that is as much larger.

use super::{Place, Rule, Tensors};

/// What stays the same during a run. The defaults are the paper's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LionConfig {
    /// How much of the average stands in a step's direction.
    pub beta1: f64,
    /// How much of the average a step keeps.
    pub beta2: f64,
}

impl Default for LionConfig {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.99,
        }
    }
}

impl Rule for LionConfig {
    fn buffers(&self, shape: &[usize]) -> Vec<(&'static str, Vec<usize>)> {
        vec![("exp_avg", shape.to_vec())]
    }

    fn update(&self, at: Place<'_>, tensors: Tensors<'_>) {
        let Tensors {
            values,
            gradient,
            memory: [average],
        } = tensors
        else {
            unreachable!("Lion has one buffer");
        };
        let keep = (1.0 - at.rate * at.weight_decay) as f32;
        let rate = at.rate as f32;
        let (old_now, new_now) = (self.beta1 as f32, (1.0 - self.beta1) as f32);
        let (old_then, new_then) = (self.beta2 as f32, (1.0 - self.beta2) as f32);
        for ((w, g), m) in values.iter_mut().zip(gradient).zip(&mut average.values) {
            let direction = old_now * *m + new_now * g;
            *w *= keep;
            // Where nothing has a sign, nothing moves; `signum` of 0 is 1.
            if direction != 0.0 {
                *w -= rate * direction.signum();
            }
            *m = old_then * *m + new_then * g;
        }
    }
}
