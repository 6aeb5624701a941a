//! Optimisers over flat f32 buffers, whose memory can be saved.
//!
//! One rule a file, each in the order of operations of the implementation that it names, and each
//! seen against that one (`tests/golden/make.py`). What they share is here: whose turn it is, steps,
//! and buffers by the names that torch gives them.

mod adafactor;
mod adamw;
mod lion;
mod muon;
mod sgd;

use crate::error::TrainError;
use candle_core::{Tensor, Var};
use std::collections::BTreeMap;

pub use adafactor::AdafactorConfig;
pub use adamw::AdamWConfig;
pub use lion::LionConfig;
pub use muon::MuonConfig;
pub use sgd::SgdConfig;

/// Which optimiser, and its numbers (transformers' `optim`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optim {
    /// Two moments of every element.
    AdamW(AdamWConfig),
    /// The gradient, with momentum or without.
    Sgd(SgdConfig),
    /// Second moments by row and column.
    Adafactor(AdafactorConfig),
    /// The sign of a moving average.
    Lion(LionConfig),
    /// Momentum made orthogonal.
    Muon(MuonConfig),
}

impl Default for Optim {
    fn default() -> Self {
        Self::AdamW(AdamWConfig::default())
    }
}

impl Optim {
    fn rule(&self) -> &dyn Rule {
        match self {
            Self::AdamW(rule) => rule,
            Self::Sgd(rule) => rule,
            Self::Adafactor(rule) => rule,
            Self::Lion(rule) => rule,
            Self::Muon(rule) => rule,
        }
    }

    /// How many numbers are remembered of a tensor of this shape.
    pub fn remembered(&self, shape: &[usize]) -> usize {
        let buffers = self.rule().buffers(shape);
        let counts = buffers
            .iter()
            .map(|(_, shape)| shape.iter().product::<usize>());
        counts.sum()
    }

    /// The first of its numbers that makes no sense: its name and itself.
    pub(crate) fn wrong(&self) -> Option<(&'static str, f64)> {
        let part = |x: f64| (0.0..1.0).contains(&x);
        let named: Vec<(&'static str, f64, bool)> = match self {
            Self::AdamW(AdamWConfig { beta1, beta2, eps }) => vec![
                ("adam beta1", *beta1, part(*beta1)),
                ("adam beta2", *beta2, part(*beta2)),
                ("adam epsilon", *eps, *eps >= 0.0 && eps.is_finite()),
            ],
            Self::Sgd(SgdConfig { momentum, .. }) | Self::Muon(MuonConfig { momentum, .. }) => {
                vec![("momentum", *momentum, part(*momentum))]
            }
            Self::Adafactor(_) => Vec::new(),
            Self::Lion(LionConfig { beta1, beta2 }) => vec![
                ("adam beta1", *beta1, part(*beta1)),
                ("adam beta2", *beta2, part(*beta2)),
            ],
        };
        let wrong = named.into_iter().find(|(_, _, right)| !right);
        wrong.map(|(name, found, _)| (name, found))
    }
}

/// One of the things that an optimiser remembers of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    /// torch's name, such as `exp_avg`.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, flat, in the order of its shape.
    pub values: Vec<f32>,
}

/// What an optimiser remembers of one tensor, sorted by name.
pub type Moments = Vec<Buffer>;

/// What a rule is told of a step of one tensor.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    /// The optimiser's step, from 1.
    step: usize,
    rate: f64,
    weight_decay: f64,
    shape: &'a [usize],
}

/// What a rule works on.
struct Tensors<'a> {
    values: &'a mut [f32],
    gradient: &'a [f32],
    /// As [`Rule::buffers`] says.
    memory: &'a mut [Buffer],
}

/// An optimiser's arithmetic, tensor by tensor.
trait Rule {
    /// Names and shapes of what it remembers of a tensor of this shape, sorted by name. They start at 0.
    fn buffers(&self, shape: &[usize]) -> Vec<(&'static str, Vec<usize>)>;

    /// One step of one tensor.
    fn update(&self, at: Place<'_>, tensors: Tensors<'_>);
}

/// torch's `lerp`, which takes the end that is nearer to keep rounding small.
pub(crate) fn lerp(start: f32, end: f32, weight: f64) -> f32 {
    let difference = end - start;
    if weight < 0.5 {
        start + weight as f32 * difference
    } else {
        end - difference * (1.0 - weight) as f32
    }
}

/// An optimiser: a rule, a step count and the memory of every variable, by name.
///
/// Every tensor decays, as in transformers, which leaves out biases and norms alone: an adapter has neither.
///
/// ```
/// use candle_core::{Device, Var};
/// use lora::{Optim, Optimizer};
/// use std::collections::BTreeMap;
///
/// let var = Var::new(&[1.0f32, -1.0], &Device::Cpu)?;
/// let vars = BTreeMap::from([("w".to_string(), var)]);
/// let mut optimizer = Optimizer::new(&vars, Optim::default(), 0.0);
/// let gradient = BTreeMap::from([("w".to_string(), vec![0.5f32, 0.0])]);
/// optimizer.step(&vars, |name| gradient.get(name).map(Vec::as_slice), |_| 0.1)?;
/// // AdamW's first step has the size of the rate, whatever the gradient's.
/// assert!((vars["w"].to_vec1::<f32>()?[0] - 0.9).abs() < 1e-6);
/// assert_eq!(vars["w"].to_vec1::<f32>()?[1], -1.0);
/// assert_eq!((optimizer.steps(), optimizer.moments().len()), (1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Optimizer {
    optim: Optim,
    weight_decay: f64,
    steps: usize,
    moments: BTreeMap<String, Moments>,
}

impl Optimizer {
    /// An optimiser that has not seen a gradient yet.
    pub fn new(vars: &BTreeMap<String, Var>, optim: Optim, weight_decay: f64) -> Self {
        let zeros = |(name, var): (&String, &Var)| (name.clone(), zeros(&optim, var.dims()));
        Self {
            optim,
            weight_decay,
            steps: 0,
            moments: vars.iter().map(zeros).collect(),
        }
    }

    /// An optimiser that goes on after `steps` steps with the memory it had then. A variable of which nothing is
    /// remembered need not be in it.
    ///
    /// # Errors
    /// Buffers that are missing, left over, of another name or of another shape than their variable's.
    pub fn resume(
        vars: &BTreeMap<String, Var>,
        optim: Optim,
        weight_decay: f64,
        steps: usize,
        mut moments: BTreeMap<String, Moments>,
    ) -> Result<Self, TrainError> {
        if let Some(name) = moments.keys().find(|name| !vars.contains_key(*name)) {
            return Err(refuse(name, "no trainable tensor has that name".into()));
        }
        for (name, var) in vars {
            let found = moments.entry(name.clone()).or_default();
            check(name, found, &zeros(&optim, var.dims()))?;
        }
        Ok(Self {
            optim,
            weight_decay,
            steps,
            moments,
        })
    }

    /// One step: `gradient(name)` for every variable, with the learning rate `rate(name)`.
    ///
    /// # Errors
    /// A variable without a gradient, or with one of another size. Nothing has moved then.
    pub fn step<'g>(
        &mut self,
        vars: &BTreeMap<String, Var>,
        gradient: impl Fn(&str) -> Option<&'g [f32]>,
        rate: impl Fn(&str) -> f64,
    ) -> Result<(), TrainError> {
        let mut moved = Vec::with_capacity(vars.len());
        for (name, var) in vars {
            let gradient = gradient(name).filter(|g| g.len() == var.elem_count());
            let gradient = gradient.ok_or_else(|| TrainError::NoGradient {
                step: self.steps + 1,
                name: name.clone(),
            })?;
            moved.push((name, var, gradient));
        }
        self.steps += 1;
        for (name, var, gradient) in moved {
            let mut values = var.as_detached_tensor().flatten_all()?.to_vec1::<f32>()?;
            let memory = self.moments.entry(name.clone());
            let memory = memory.or_insert_with(|| zeros(&self.optim, var.dims()));
            let at = Place {
                step: self.steps,
                rate: rate(name),
                weight_decay: self.weight_decay,
                shape: var.dims(),
            };
            let tensors = Tensors {
                values: &mut values,
                gradient,
                memory,
            };
            self.optim.rule().update(at, tensors);
            var.set(&Tensor::from_vec(values, var.dims(), var.device())?)?;
        }
        Ok(())
    }

    /// Steps made.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// What is remembered of every variable, by name.
    pub fn moments(&self) -> &BTreeMap<String, Moments> {
        &self.moments
    }
}

/// The memory that a tensor of this shape begins with.
fn zeros(optim: &Optim, shape: &[usize]) -> Moments {
    let buffers = optim.rule().buffers(shape).into_iter();
    let zero = |(name, shape): (&str, Vec<usize>)| Buffer {
        name: name.to_owned(),
        values: vec![0.0; shape.iter().product()],
        shape,
    };
    buffers.map(zero).collect()
}

/// Whether the memory of a tensor is what the rule has of such a tensor.
fn check(name: &str, found: &Moments, expected: &Moments) -> Result<(), TrainError> {
    let names = |moments: &Moments| {
        let names: Vec<&str> = moments.iter().map(|b| b.name.as_str()).collect();
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    };
    if names(found) != names(expected) {
        let why = format!("there are {}, expected {}", names(found), names(expected));
        return Err(refuse(name, why));
    }
    for (found, expected) in found.iter().zip(expected) {
        if found.shape != expected.shape || found.values.len() != expected.values.len() {
            let (buffer, have, want) = (&found.name, &found.shape, &expected.shape);
            let why = format!("{buffer} has shape {have:?}, expected {want:?}");
            return Err(refuse(name, why));
        }
    }
    Ok(())
}

pub(crate) fn refuse(name: &str, why: String) -> TrainError {
    TrainError::Moments {
        name: name.into(),
        why,
    }
}

#[cfg(test)]
mod tests;
