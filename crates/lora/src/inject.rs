//! Putting an adapter into a model, and taking it out again.

use crate::adapter::{Adapter, Pair};
use crate::error::LoraError;
use candle_core::{DType, Device, Tensor};
use smollm_model::{Llama, LowRank, Site};

impl Adapter {
    /// The updates of all sites, without dropout, in a fixed order.
    pub fn updates(&self) -> impl Iterator<Item = (Site, LowRank)> {
        self.pairs()
            .map(|(site, pair)| (site, self.update(site, pair)))
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
            let update = on(self.update(site, pair), model.device())?;
            *model.low_rank_mut(site) = Some(update);
        }
        Ok(())
    }

    /// Adds the adapter into the weights: `W + scale * B A`, formed in f32, stored as W was. With
    /// `use_dora` its rows then get their magnitudes. Where one table is embedding and head and either has an adapter,
    /// the two are tied no longer.
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
            let weight = &model.at(site).weight;
            let update = on(self.update(site, pair), weight.device())?;
            let product = update.b.matmul(&update.a)?;
            let product = match site {
                // Its rows are tokens, which the update has as columns.
                Site::Embedding => product.t()?.contiguous()?,
                _ => product,
            };
            let change = (product * update.scale)?;
            let mut sum = (weight.to_dtype(DType::F32)? + change)?;
            if let Some(scales) = update.output_scales(weight)? {
                sum = sum.broadcast_mul(&scales.unsqueeze(1)?)?;
            }
            merged.push((site, sum.to_dtype(weight.dtype())?));
        }
        let swap = |(site, sum): (Site, Tensor)| (site, model.replace_weight(site, sum));
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
            model.replace_weight(site, weight);
        }
    }
}

/// Takes any adapter out of a model.
pub fn detach(model: &mut Llama) {
    for site in Site::all(model.config().num_hidden_layers) {
        *model.low_rank_mut(site) = None;
    }
}
