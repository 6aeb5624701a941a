//! Putting an adapter into a model, and taking it out again.

use crate::adapter::{Adapter, Pair};
use crate::error::LoraError;
use crate::names::Site;
use candle_core::{DType, Device, Tensor};
use smollm_model::{Llama, LowRank, Projection};

impl Adapter {
    /// The updates of all sites, without dropout, in a fixed order.
    pub fn updates(&self) -> impl Iterator<Item = (usize, Projection, LowRank)> {
        self.pairs()
            .map(|(site, pair)| (site.layer, site.projection, self.update(site, pair)))
    }

    fn update(&self, site: Site, pair: &Pair) -> LowRank {
        LowRank {
            a: pair.a.clone(),
            b: pair.b.clone(),
            scale: self.scale(site),
            dropout: 0.0,
            magnitude: pair.magnitude.clone(),
        }
    }

    /// Hangs the adapter beside the frozen weights, for inference: `y = W x + scale * B A x`, and with
    /// `use_dora` that times `m / n`, where `n` are the norms of the rows of `W + scale * B A`.
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
            let update = self.update(site, pair);
            linear.low_rank = Some(on(update, linear.weight.device())?);
        }
        Ok(())
    }

    /// Adds the adapter into the weights: `W + scale * B A`, formed in f32, stored as W was. With
    /// `use_dora` its rows then get their magnitudes.
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
            let update = on(self.update(site, pair), weight.device())?;
            let change = (update.b.matmul(&update.a)? * update.scale)?;
            let mut sum = (weight.to_dtype(DType::F32)? + change)?;
            if let Some(scales) = update.output_scales(weight)? {
                sum = sum.broadcast_mul(&scales.unsqueeze(1)?)?;
            }
            merged.push((site, sum.to_dtype(weight.dtype())?));
        }
        let swap = |(site, sum): (Site, Tensor)| {
            let linear = model.linear_mut(site.layer, site.projection);
            (site, std::mem::replace(&mut linear.weight, sum))
        };
        Ok(Merged(merged.into_iter().map(swap).collect()))
    }
}

/// The same update where a model's weights are.
fn on(update: LowRank, device: &Device) -> Result<LowRank, LoraError> {
    let magnitude = update.magnitude.map(|m| m.to_device(device));
    Ok(LowRank {
        a: update.a.to_device(device)?,
        b: update.b.to_device(device)?,
        magnitude: magnitude.transpose()?,
        ..update
    })
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
