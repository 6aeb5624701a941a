//! An adapter whose matrices are variables.

use crate::adapter::Adapter;
use crate::config::LoraConfig;
use crate::error::LoraError;
use crate::inject::detach;
use crate::names::{Factor, Site};
use candle_core::Var;
use smollm_model::{Llama, LowRank, Projection};
use std::collections::BTreeMap;

/// The variables of an adapter, attached to a model.
///
/// A map sorted by PEFT's tensor names takes the place of `candle_nn::VarMap`, whose order differs
/// from run to run: norms, updates and files all walk the variables in this order.
#[derive(Clone, Debug)]
pub struct Trainable {
    config: LoraConfig,
    vars: BTreeMap<String, Var>,
}

impl Trainable {
    /// Makes variables of an adapter's matrices and attaches them to the model, dropout included.
    ///
    /// # Errors
    /// The adapter does not fit the model.
    pub fn attach(adapter: &Adapter, model: &mut Llama) -> Result<Self, LoraError> {
        adapter.check(model.config())?;
        detach(model);
        let config = adapter.config().clone();
        let mut vars = BTreeMap::new();
        for (site, pair) in adapter.pairs() {
            let linear = model.linear_mut(site.layer, site.projection);
            let device = linear.weight.device().clone();
            // A copy: an update must not reach the adapter that we started from.
            let a = Var::from_tensor(&pair.a.copy()?.to_device(&device)?)?;
            let b = Var::from_tensor(&pair.b.copy()?.to_device(&device)?)?;
            linear.low_rank = Some(LowRank {
                a: a.as_tensor().clone(),
                b: b.as_tensor().clone(),
                scale: adapter.scale(site),
                dropout: config.lora_dropout as f32,
            });
            vars.insert(site.tensor_name(Factor::A), a);
            vars.insert(site.tensor_name(Factor::B), b);
        }
        Ok(Self { config, vars })
    }

    /// The variables by PEFT's tensor names, sorted.
    pub fn vars(&self) -> &BTreeMap<String, Var> {
        &self.vars
    }

    /// The adapter as it stands now: a copy that further training leaves alone.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn to_adapter(&self) -> Result<Adapter, LoraError> {
        let tensors = self.vars.iter().filter_map(|(name, var)| {
            let copy = var.as_detached_tensor().copy();
            Site::parse(name).map(|place| copy.map(|tensor| (place, tensor)))
        });
        let tensors = tensors.collect::<Result<Vec<_>, _>>()?;
        Adapter::from_tensors(self.config.clone(), tensors)
    }
}

/// The same model without a graph: it shares every number with `model`, the variables' current
/// values included, but a forward pass through it records nothing for a backward pass.
pub(crate) fn without_graph(model: &Llama) -> Llama {
    let mut model = model.clone();
    for layer in 0..model.config().num_hidden_layers {
        for projection in Projection::ALL {
            if let Some(low_rank) = &mut model.linear_mut(layer, projection).low_rank {
                low_rank.a = low_rank.a.detach();
                low_rank.b = low_rank.b.detach();
            }
        }
    }
    model
}
