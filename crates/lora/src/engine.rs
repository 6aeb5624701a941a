//! What computes a micro-batch: the differentiable model, or packed weights with a backward pass of their own.

use crate::error::TrainError;
use crate::names::Factor;
use crate::sample::Packed;
use crate::trainable::{Trainable, without_graph};
use crate::workload::Load;
use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use smollm_model::{
    Checkpointing, Llama, Mode, ModelConfig, Site, SiteGradients, SiteShape, TrainingBatch,
    TrainingCost, TrainingLlama, TrainingModel, TrainingOptions, TrainingSite,
};

/// What [`train()`](crate::train()) runs on. Both give the same numbers, to rounding.
#[derive(Debug)]
pub enum Engine<'a> {
    /// The differentiable model that the [`Trainable`]'s variables are attached to.
    Autograd(&'a Llama),
    /// Frozen weights, beside which the variables stand: faster. On the CPU [`TrainingLlama`], on a device what
    /// `smollm_model`'s feature `cuda` has.
    Packed(&'a mut dyn TrainingModel),
}

impl<'a> From<&'a Llama> for Engine<'a> {
    fn from(model: &'a Llama) -> Self {
        Self::Autograd(model)
    }
}

impl<'a> From<&'a mut Llama> for Engine<'a> {
    fn from(model: &'a mut Llama) -> Self {
        Self::Autograd(model)
    }
}

impl<'a> From<&'a mut TrainingLlama> for Engine<'a> {
    fn from(model: &'a mut TrainingLlama) -> Self {
        Self::Packed(model)
    }
}

impl<'a> From<&'a mut dyn TrainingModel> for Engine<'a> {
    fn from(model: &'a mut dyn TrainingModel) -> Self {
        Self::Packed(model)
    }
}

impl Engine<'_> {
    /// The same for a shorter time: what is behind [`Engine::Packed`] keeps the lifetime that it was given.
    pub(crate) fn reborrow(&mut self) -> Engine<'_> {
        match self {
            Self::Autograd(model) => Engine::Autograd(model),
            Self::Packed(model) => Engine::Packed(&mut **model),
        }
    }

    pub(crate) fn config(&self) -> &ModelConfig {
        match self {
            Self::Autograd(model) => model.config(),
            Self::Packed(model) => model.config(),
        }
    }

    /// The sum of the negative log-likelihoods with dropout, and `factor` times its gradients.
    pub(crate) fn gradients(
        &mut self,
        trainable: &Trainable,
        batch: &Packed,
        dropout_seed: u64,
        factor: f64,
    ) -> Result<(f64, GradStore), TrainError> {
        match self {
            Self::Autograd(model) => {
                let nll = batch.nll(model, Mode::Train { dropout_seed })?;
                let value = f64::from(nll.to_scalar::<f32>()?);
                if !value.is_finite() {
                    return Ok((value, empty_store()?));
                }
                Ok((value, (nll * factor)?.backward()?))
            }
            Self::Packed(model) => {
                let matrices = Matrices::of(trainable)?;
                let sites = matrices.sites();
                let mut sums: Vec<_> = sites.iter().map(SiteGradients::zeros).collect();
                let seed = dropout_seed;
                let factor = factor as f32;
                let nll = model.gradients(batch.inputs(), &sites, seed, factor, &mut sums)?;
                Ok((nll, matrices.store(sums)?))
            }
        }
    }

    /// Floating-point operations that the gradients of some rows take at the least.
    pub(crate) fn flops(&self, trainable: &Trainable, load: Load) -> f64 {
        let options = TrainingOptions {
            checkpointing: match self {
                Self::Autograd(_) => Checkpointing::None,
                Self::Packed(model) => model.checkpointing(),
            },
            ..TrainingOptions::default()
        };
        let sites: Vec<SiteShape> = trainable.shapes().collect();
        TrainingCost::new(self.config(), options, &sites).gradient_flops(load.shape())
    }

    /// The sum of the negative log-likelihoods, dropout off.
    pub(crate) fn nll(&mut self, trainable: &Trainable, batch: &Packed) -> Result<f64, TrainError> {
        match self {
            Self::Autograd(model) => {
                let nll = batch.nll(&without_graph(model), Mode::Eval)?;
                Ok(f64::from(nll.to_scalar::<f32>()?))
            }
            Self::Packed(model) => {
                let matrices = Matrices::of(trainable)?;
                Ok(model.nll(batch.inputs(), &matrices.sites())?)
            }
        }
    }
}

/// The values of all variables, by site.
struct Matrices<'a> {
    dropout: f32,
    sites: Vec<SiteMatrices<'a>>,
}

struct SiteMatrices<'a> {
    site: Site,
    rank: usize,
    scale: f64,
    a: Values<'a>,
    b: Values<'a>,
    magnitude: Option<Values<'a>>,
}

/// A variable, and what it holds.
struct Values<'a> {
    var: &'a Var,
    values: Vec<f32>,
}

impl<'a> Values<'a> {
    fn of(var: &'a Var) -> Result<Self, TrainError> {
        let values = var.flatten_all()?.to_vec1()?;
        Ok(Self { var, values })
    }
}

impl<'a> Matrices<'a> {
    fn of(trainable: &'a Trainable) -> Result<Self, TrainError> {
        let vars = trainable.vars();
        let mut sites = Vec::new();
        for (name, a) in vars {
            let Some((site, Factor::A)) = Factor::parse(name) else {
                continue;
            };
            let other = |factor: Factor| vars.get(&factor.tensor_name(site));
            let Some(b) = other(Factor::B) else {
                continue;
            };
            sites.push(SiteMatrices {
                site,
                rank: a.dim(0)?,
                scale: trainable.scale(site),
                a: Values::of(a)?,
                b: Values::of(b)?,
                magnitude: other(Factor::Magnitude).map(Values::of).transpose()?,
            });
        }
        Ok(Self {
            dropout: trainable.config().lora_dropout as f32,
            sites,
        })
    }

    fn sites(&self) -> Vec<TrainingSite<'_>> {
        let mut sites = Vec::with_capacity(self.sites.len());
        for at in &self.sites {
            sites.push(TrainingSite {
                site: at.site,
                rank: at.rank,
                scale: at.scale,
                dropout: self.dropout,
                a: &at.a.values,
                b: &at.b.values,
                magnitude: at.magnitude.as_ref().map(|m| m.values.as_slice()),
            });
        }
        sites
    }

    /// The gradients, by variable.
    fn store(&self, sums: Vec<SiteGradients>) -> Result<GradStore, TrainError> {
        let mut store = empty_store()?;
        for (at, sums) in self.sites.iter().zip(sums) {
            let mut insert = |Values { var, .. }: &Values<'_>, sum| {
                let sum = Tensor::from_vec(sum, var.shape(), &Device::Cpu)?;
                store.insert(var, sum);
                Ok::<_, TrainError>(())
            };
            insert(&at.a, sums.a)?;
            insert(&at.b, sums.b)?;
            if let Some(magnitude) = &at.magnitude {
                insert(magnitude, sums.magnitude)?;
            }
        }
        Ok(store)
    }
}

/// candle makes gradient stores by walking a graph back; this one's graph has no variable.
fn empty_store() -> Result<GradStore, TrainError> {
    Ok(Tensor::zeros((), candle_core::DType::F32, &Device::Cpu)?.backward()?)
}

impl Packed {
    fn inputs(&self) -> TrainingBatch<'_> {
        TrainingBatch {
            sequences: &self.ragged,
            rows: &self.places,
            targets: &self.targets,
        }
    }
}
