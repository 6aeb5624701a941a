//! An adapter whose matrices are variables.

use crate::adapter::Adapter;
use crate::config::LoraConfig;
use crate::error::LoraError;
use crate::inject::detach;
use crate::names::Factor;
use crate::residual::Residual;
use candle_core::{Device, Tensor, Var};
use smollm_model::{Llama, LowRank, ModelConfig, Site, SiteShape};
use std::collections::BTreeMap;

/// The variables of an adapter, attached to a model.
///
/// A map sorted by PEFT's tensor names takes the place of `candle_nn::VarMap`, whose order differs
/// from run to run: norms, updates and files all walk the variables in this order.
#[derive(Clone, Debug)]
pub struct Trainable {
    config: LoraConfig,
    scales: BTreeMap<Site, f64>,
    vars: BTreeMap<String, Var>,
    /// What the base lacks.
    residual: Option<Residual>,
}

impl Trainable {
    /// Makes variables of an adapter's matrices and attaches them to the model, dropout included.
    ///
    /// # Errors
    /// The adapter does not fit the model.
    pub fn attach(adapter: &Adapter, model: &mut Llama) -> Result<Self, LoraError> {
        let trainable = Self::on(adapter, model.config(), &model.device().clone())?;
        detach(model);
        let config = &trainable.config;
        for (site, pair) in adapter.pairs() {
            let var = |factor: Factor| {
                let var = &trainable.vars[&factor.tensor_name(site)];
                var.as_tensor().clone()
            };
            *model.low_rank_mut(site) = Some(LowRank {
                a: var(Factor::A),
                b: var(Factor::B),
                scale: adapter.scale(site),
                dropout: config.lora_dropout as f32,
                magnitude: pair.magnitude.as_ref().map(|_| var(Factor::Magnitude)),
            });
        }
        Ok(trainable)
    }

    /// Makes variables of an adapter's matrices, for a model that reads them where they stand
    /// ([`Engine::Packed`](crate::Engine::Packed)).
    ///
    /// # Errors
    /// The adapter does not fit the model.
    pub fn beside(adapter: &Adapter, model: &ModelConfig) -> Result<Self, LoraError> {
        Self::on(adapter, model, &Device::Cpu)
    }

    fn on(adapter: &Adapter, model: &ModelConfig, device: &Device) -> Result<Self, LoraError> {
        adapter.check(model)?;
        let mut vars = BTreeMap::new();
        for (site, pair) in adapter.pairs() {
            for (factor, tensor) in pair.tensors() {
                // A copy: an update must not reach the adapter that we started from.
                let var = Var::from_tensor(&tensor.copy()?.to_device(device)?)?;
                vars.insert(factor.tensor_name(site), var);
            }
        }
        Ok(Self {
            config: adapter.config().clone(),
            scales: adapter
                .pairs()
                .map(|(site, _)| (site, adapter.scale(site)))
                .collect(),
            vars,
            residual: None,
        })
    }

    /// The same beside a base that lacks these factors ([`Residual::take_out_of`]): what leaves the run is then the
    /// plain adapter for the base as it was.
    #[must_use]
    pub fn over(mut self, residual: Option<Residual>) -> Self {
        self.residual = residual;
        self
    }

    /// Rank, scale, dropout and places.
    pub(crate) fn config(&self) -> &LoraConfig {
        &self.config
    }

    /// What multiplies `B A x` at a site; 0 where there is none.
    pub(crate) fn scale(&self, site: Site) -> f64 {
        self.scales.get(&site).copied().unwrap_or(0.0)
    }

    /// The variables by PEFT's tensor names, sorted.
    pub fn vars(&self) -> &BTreeMap<String, Var> {
        &self.vars
    }

    /// Rank and dropout of each place.
    pub(crate) fn shapes(&self) -> impl Iterator<Item = SiteShape> {
        let dropout = self.config.lora_dropout > 0.0;
        self.vars.iter().filter_map(move |(name, a)| {
            let (site, Factor::A) = Factor::parse(name)? else {
                return None;
            };
            Some(SiteShape {
                site,
                rank: a.dims()[0],
                dropout: dropout && site != Site::Embedding,
                magnitude: self.config.use_dora,
            })
        })
    }

    /// The adapter as it stands now: a copy that further training leaves alone. It is one for the base as it was, also
    /// where training goes on beside a [`Residual`], which [`Residual::split`] finds in it again.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn to_adapter(&self) -> Result<Adapter, LoraError> {
        let tensors = self.vars.iter().filter_map(|(name, var)| {
            let copy = var.as_detached_tensor().copy();
            Factor::parse(name).map(|place| copy.map(|tensor| (place, tensor)))
        });
        let tensors = tensors.collect::<Result<Vec<_>, _>>()?;
        let learnt = Adapter::from_tensors(self.config.clone(), tensors)?;
        match &self.residual {
            Some(residual) => residual.plain(&learnt),
            None => Ok(learnt),
        }
    }
}

/// The same model without a graph: it shares every number with `model`, the variables' current
/// values included, but a forward pass through it records nothing for a backward pass.
pub(crate) fn without_graph(model: &Llama) -> Llama {
    let mut model = model.clone();
    for site in Site::all(model.config().num_hidden_layers) {
        if let Some(low_rank) = model.low_rank_mut(site) {
            low_rank.a = low_rank.a.detach();
            low_rank.b = low_rank.b.detach();
            low_rank.magnitude = low_rank.magnitude.as_ref().map(Tensor::detach);
        }
    }
    model
}
