//! Weights of the base that PEFT saves beside an adapter.
//!
//! Where `target_modules` lists `embed_tokens` or `lm_head`, PEFT's `save_embedding_layers = "auto"` puts the whole base
//! matrix into the adapter's file, and on loading it takes the place of the base's. We never write one (PEFT then keeps
//! its base's own), and use none that we read: the base has it. But one that is *not* the base's would mean other
//! answers in PEFT than here, so it is compared.

use crate::adapter::{Adapter, Pair};
use crate::error::LoraError;
use crate::names::saved_base_name;
use candle_core::{DType, Tensor};
use smollm_model::{Checkpoint, Site};
use std::collections::BTreeMap;

/// How far numbers of one weight may be from each other where both are stored as floats: bf16's rounding.
const ROUNDING: f32 = 1.0 / 128.0;

/// How far a quantised matrix may be from the one it was made of, as a part of its norm: 4-bit blocks are at 0.08.
const QUANTISATION: f64 = 0.125;

impl Adapter {
    /// Keeps weights of the base that lay in the adapter's file, if the adapter stands beside weights of that shape.
    ///
    /// # Errors
    /// There is no adapter at that place, or it is one of another shape.
    pub(crate) fn keeping(self, saved: BTreeMap<Site, Tensor>) -> Result<Self, LoraError> {
        for (site, tensor) in &saved {
            let name = saved_base_name(*site);
            let Some(Pair { a, b, .. }) = self.pair(*site) else {
                let module = site.module().name();
                return Err(LoraError::UnexpectedTensor {
                    name,
                    why: format!("it is the base's, and {module} is not among target_modules"),
                });
            };
            let expected = match site {
                Site::Embedding => [a.dim(1)?, b.dim(0)?],
                _ => [b.dim(0)?, a.dim(1)?],
            };
            if tensor.dims() != expected {
                return Err(LoraError::Shape {
                    name,
                    found: tensor.dims().to_vec(),
                    expected: expected.to_vec(),
                    from: "the factors beside it",
                });
            }
        }
        Ok(self.with_saved(saved))
    }

    /// Whether the weights of the base that were saved beside the adapter, if any, are this base's: the same numbers to
    /// bf16's rounding, or, where the base is quantised, within an eighth of their norm.
    ///
    /// # Errors
    /// They are others; the base cannot be read.
    pub fn check_base(&self, base: &Checkpoint) -> Result<(), LoraError> {
        for (site, saved) in self.saved() {
            let weight = base.weight_of(*site).weight_name();
            let own = base.tensor(&weight, saved.dims(), DType::F32)?;
            let values = |t: &Tensor| t.flatten_all()?.to_vec1::<f32>();
            let (own, saved) = (values(&own)?, values(saved)?);
            let reason = if base.is_quantised(&weight) {
                too_far(&own, &saved)
            } else {
                different(&own, &saved)
            };
            if let Some(reason) = reason {
                let name = saved_base_name(*site);
                return Err(LoraError::SavedBase { name, reason });
            }
        }
        Ok(())
    }
}

/// Says how two matrices differ by more than rounding.
fn different(own: &[f32], saved: &[f32]) -> Option<String> {
    let same = |x: f32, y: f32| (x - y).abs() <= ROUNDING * x.abs().max(y.abs());
    let pairs = || own.iter().zip(saved);
    let count = pairs().filter(|(x, y)| !same(**x, **y)).count();
    let (x, y) = pairs().find(|(x, y)| !same(**x, **y))?;
    let all = own.len();
    Some(format!(
        "{count} of {all} numbers differ, the first is {y}, expected {x}"
    ))
}

/// Says how two matrices differ by more than quantisation.
fn too_far(own: &[f32], saved: &[f32]) -> Option<String> {
    let sum = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
        let pairs = own.iter().zip(saved);
        pairs.map(|(x, y)| of(f64::from(*x), f64::from(*y))).sum()
    };
    let apart = sum(&|x, y| (x - y).powi(2)) / sum(&|x, _| x * x);
    let far = apart.sqrt();
    // What is no number is too far, too.
    let near = far <= QUANTISATION;
    (!near)
        .then(|| format!("they differ by {far:.3} of their norm, expected at most {QUANTISATION}"))
}
