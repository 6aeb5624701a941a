//! The exponential moving average of the variables.
//!
//! After every update `a ← a + (1 - d) (w - a)`, beginning with `a = w` after the first one, as torch's
//! `AveragedModel` with `get_ema_multi_avg_fn` (`torch/optim/swa_utils.py`, 2.15.0). The variables go on
//! as if nobody averaged; what is evaluated, kept and written is the average.

use crate::adapter::Adapter;
use crate::error::TrainError;
use crate::optim::{Buffer, Moments, lerp, refuse};
use crate::trainable::Trainable;
use candle_core::{Tensor, Var};
use std::collections::BTreeMap;

/// By which name a checkpoint has the variables' own values, since its adapter is the average.
const VALUES: &str = "param";

/// The average, once there has been an update.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Average {
    decay: f64,
    values: BTreeMap<String, Vec<f32>>,
}

impl Average {
    pub(crate) fn new(decay: f64) -> Self {
        let values = BTreeMap::new();
        Self { decay, values }
    }

    /// Takes in the variables after an update.
    pub(crate) fn update(&mut self, vars: &BTreeMap<String, Var>) -> Result<(), TrainError> {
        for (name, var) in vars {
            let now = flat(var)?;
            let Some(average) = self.values.get_mut(name) else {
                self.values.insert(name.clone(), now);
                continue;
            };
            for (average, now) in average.iter_mut().zip(now) {
                *average = lerp(*average, now, 1.0 - self.decay);
            }
        }
        Ok(())
    }

    /// Puts the average into the variables and calls `look`; afterwards they have their own values again, whatever
    /// came of it.
    pub(crate) fn lend<T>(
        &self,
        vars: &BTreeMap<String, Var>,
        look: impl FnOnce() -> Result<T, TrainError>,
    ) -> Result<T, TrainError> {
        let own = vars
            .iter()
            .map(|(name, var)| Ok((name.clone(), flat(var)?)));
        let own = own.collect::<Result<BTreeMap<_, _>, TrainError>>()?;
        set(vars, &self.values)?;
        let seen = look();
        set(vars, &own)?;
        seen
    }

    /// The adapter with the average for its values; before the first update, with the variables' own.
    pub(crate) fn adapter(&self, trainable: &Trainable) -> Result<Adapter, TrainError> {
        self.lend(trainable.vars(), || Ok(trainable.to_adapter()?))
    }

    /// Adds the variables' own values to what a checkpoint remembers of each.
    pub(crate) fn remember(
        &self,
        vars: &BTreeMap<String, Var>,
        moments: &mut BTreeMap<String, Moments>,
    ) -> Result<(), TrainError> {
        // Before the first update the adapter has them.
        for (name, var) in vars
            .iter()
            .filter(|(name, _)| self.values.contains_key(*name))
        {
            let of = moments.entry(name.clone()).or_default();
            of.push(Buffer {
                name: VALUES.into(),
                shape: var.dims().to_vec(),
                values: flat(var)?,
            });
            of.sort_by(|a, b| a.name.cmp(&b.name));
        }
        Ok(())
    }

    /// Takes the average from the variables, which a checkpoint's adapter has filled, and gives them their own
    /// values, which are taken out of `moments`.
    ///
    /// # Errors
    /// Values that are missing for some variables, or of another shape.
    pub(crate) fn resume(
        decay: f64,
        vars: &BTreeMap<String, Var>,
        moments: &mut BTreeMap<String, Moments>,
    ) -> Result<Self, TrainError> {
        let mut average = Self::new(decay);
        let mut own = BTreeMap::new();
        for (name, var) in vars {
            let of = moments.entry(name.clone()).or_default();
            let Some(at) = of.iter().position(|buffer| buffer.name == VALUES) else {
                continue;
            };
            let found = of.remove(at);
            if found.shape != var.dims() || found.values.len() != var.elem_count() {
                let (have, want) = (found.shape, var.dims());
                return Err(refuse(
                    name,
                    format!("{VALUES} has shape {have:?}, expected {want:?}"),
                ));
            }
            average.values.insert(name.clone(), flat(var)?);
            own.insert(name.clone(), found.values);
        }
        if let Some(name) = vars
            .keys()
            .find(|name| !own.is_empty() && !own.contains_key(*name))
        {
            return Err(refuse(name, format!("{VALUES} is missing")));
        }
        set(vars, &own)?;
        Ok(average)
    }
}

fn flat(var: &Var) -> Result<Vec<f32>, TrainError> {
    Ok(var.as_detached_tensor().flatten_all()?.to_vec1()?)
}

/// Sets the variables that have a value.
fn set(
    vars: &BTreeMap<String, Var>,
    values: &BTreeMap<String, Vec<f32>>,
) -> Result<(), TrainError> {
    for (name, values) in values {
        if let Some(var) = vars.get(name) {
            var.set(&Tensor::from_slice(values, var.dims(), var.device())?)?;
        }
    }
    Ok(())
}
