//! Putting an adapter into a model, and taking it out again.

use crate::adapter::Adapter;
use crate::error::LoraError;
use crate::names::Site;
use candle_core::{DType, Tensor};
use smollm_model::{Llama, LowRank, Projection};

impl Adapter {
    /// The updates of all sites, without dropout, in a fixed order.
    pub fn updates(&self) -> impl Iterator<Item = (usize, Projection, LowRank)> {
        self.pairs().map(|(site, pair)| {
            let update = LowRank {
                a: pair.a.clone(),
                b: pair.b.clone(),
                scale: self.scale(site),
                dropout: 0.0,
            };
            (site.layer, site.projection, update)
        })
    }

    /// Hangs the adapter beside the frozen weights, for inference: `y = W x + scale * B A x`.
    ///
    /// Replaces whatever adapter the model carried.
    ///
    /// # Errors
    /// The adapter does not fit the model.
    pub fn attach(&self, model: &mut Llama) -> Result<(), LoraError> {
        self.check(model.config())?;
        detach(model);
        for (site, pair) in self.pairs() {
            let linear = model.linear_mut(site.layer, site.projection);
            let device = linear.weight.device().clone();
            linear.low_rank = Some(LowRank {
                a: pair.a.to_device(&device)?,
                b: pair.b.to_device(&device)?,
                scale: self.scale(site),
                dropout: 0.0,
            });
        }
        Ok(())
    }

    /// Adds the adapter into the weights: `W + scale * B A`, formed in f32, stored as W was.
    ///
    /// What comes back holds the weights as they were, so that [`Merged::undo`] is exact; drop it
    /// to free them.
    ///
    /// # Errors
    /// The adapter does not fit the model.
    pub fn merge_into(&self, model: &mut Llama) -> Result<Merged, LoraError> {
        self.check(model.config())?;
        let mut merged = Vec::new();
        for (site, pair) in self.pairs() {
            let weight = &model.linear(site.layer, site.projection).weight;
            let device = weight.device();
            let (a, b) = (pair.a.to_device(device)?, pair.b.to_device(device)?);
            let update = (b.matmul(&a)? * self.scale(site))?;
            let sum = (weight.to_dtype(DType::F32)? + update)?;
            merged.push((site, sum.to_dtype(weight.dtype())?));
        }
        let swap = |(site, sum): (Site, Tensor)| {
            let linear = model.linear_mut(site.layer, site.projection);
            (site, std::mem::replace(&mut linear.weight, sum))
        };
        Ok(Merged(merged.into_iter().map(swap).collect()))
    }
}

/// The weights that a merge replaced.
#[derive(Debug)]
pub struct Merged(Vec<(Site, Tensor)>);

impl Merged {
    /// Puts the weights back, bit for bit.
    pub fn undo(self, model: &mut Llama) {
        for (site, weight) in self.0 {
            model.linear_mut(site.layer, site.projection).weight = weight;
        }
    }
}

/// Takes any adapter out of a model.
pub fn detach(model: &mut Llama) {
    for layer in 0..model.config().num_hidden_layers {
        for projection in Projection::ALL {
            model.linear_mut(layer, projection).low_rank = None;
        }
    }
}
