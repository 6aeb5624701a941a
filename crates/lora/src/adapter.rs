//! An adapter: its config and its tensors for every site.

use crate::config::{LoraConfig, MOST_LAYERS, Shape};
use crate::error::LoraError;
use crate::names::Factor;
use candle_core::{DType, Device, Tensor};
use smollm_model::{ModelConfig, Site};
use std::collections::BTreeMap;

/// The two factors of one update `W + scale * B A`, with DoRA's magnitude where there is one.
#[derive(Clone, Debug)]
pub struct Pair {
    /// `A`, `[r, in]`, f32, on the CPU.
    pub a: Tensor,
    /// `B`, `[out, r]`, f32, on the CPU.
    pub b: Tensor,
    /// `m`, `[out]`, f32, on the CPU; what the config's `use_dora` asks for.
    pub magnitude: Option<Tensor>,
}

impl Pair {
    /// Factors without a magnitude.
    pub fn new(a: Tensor, b: Tensor) -> Self {
        let magnitude = None;
        Self { a, b, magnitude }
    }

    /// The tensors that there are, in the order of their names.
    pub fn tensors(&self) -> impl Iterator<Item = (Factor, &Tensor)> {
        let factors = [(Factor::A, &self.a), (Factor::B, &self.b)];
        let magnitude = self.magnitude.as_ref();
        factors
            .into_iter()
            .chain(magnitude.map(|m| (Factor::Magnitude, m)))
    }
}

/// A LoRA adapter: one [`Pair`] for each place that its config names.
///
/// Whatever way it came to be, it is complete: layers `0..n` all have exactly the config's sites,
/// and every rank is the config's. Iteration is in one fixed order, that of the forward pass.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// Rank, scale, targets.
    config: LoraConfig,
    pairs: BTreeMap<Site, Pair>,
    /// Rank and scale of each pair.
    shapes: BTreeMap<Site, Shape>,
    layers: usize,
    /// Weights of the base that the file had beside the factors.
    saved: BTreeMap<Site, Tensor>,
}

impl Adapter {
    /// An adapter from its parts.
    ///
    /// # Errors
    /// A missing or unexpected tensor, a rank that is not the config's.
    pub fn new(config: LoraConfig, pairs: BTreeMap<Site, Pair>) -> Result<Self, LoraError> {
        let config = config.checked()?;
        let tensors = pairs
            .into_iter()
            .flat_map(|(site, Pair { a, b, magnitude })| {
                let factors = [(Factor::A, a), (Factor::B, b)].into_iter();
                let all = factors.chain(magnitude.map(|m| (Factor::Magnitude, m)));
                all.map(move |(factor, tensor)| ((site, factor), tensor))
            });
        Self::from_tensors(config, tensors)
    }

    /// An adapter from single tensors, in any order; converts them to f32 on the CPU.
    pub(crate) fn from_tensors(
        config: LoraConfig,
        tensors: impl IntoIterator<Item = ((Site, Factor), Tensor)>,
    ) -> Result<Self, LoraError> {
        let (mut a, mut b, mut m) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for ((site, factor), tensor) in tensors {
            if site.layer().is_some_and(|layer| layer >= MOST_LAYERS) {
                return Err(LoraError::UnexpectedTensor {
                    name: factor.tensor_name(site),
                    why: format!("no model has {MOST_LAYERS} layers"),
                });
            }
            let shape = expected_shape(&config, site, factor)?;
            let of_factor = match factor {
                Factor::A => &mut a,
                Factor::B => &mut b,
                Factor::Magnitude => &mut m,
            };
            let tensor = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
            check_rank(shape.rank, site, factor, &tensor)?;
            if of_factor.insert(site, tensor.contiguous()?).is_some() {
                return Err(LoraError::UnexpectedTensor {
                    name: factor.tensor_name(site),
                    why: "it is there twice".into(),
                });
            }
        }
        let seen = a.keys().chain(b.keys()).chain(m.keys());
        let seen = seen.filter_map(|site| site.layer());
        let named = config.layers_to_transform.iter().flatten().copied();
        let layers = seen.chain(named).max().map_or(0, |last| last + 1);
        let found = a.len() + b.len() + m.len();
        let shapes = config.sites(layers.max(1))?;
        let expected = if config.use_dora { 3 } else { 2 } * shapes.len();
        let mut pairs = BTreeMap::new();
        for (site, _) in &shapes {
            let missing = |factor: Factor| LoraError::MissingTensor {
                name: factor.tensor_name(*site),
                expected,
                found,
            };
            let a = a.remove(site).ok_or_else(|| missing(Factor::A))?;
            let b = b.remove(site).ok_or_else(|| missing(Factor::B))?;
            let magnitude = m.remove(site);
            if config.use_dora && magnitude.is_none() {
                return Err(missing(Factor::Magnitude));
            }
            pairs.insert(*site, Pair { a, b, magnitude });
        }
        Ok(Self {
            config,
            pairs,
            shapes: shapes.into_iter().collect(),
            layers,
            saved: BTreeMap::new(),
        })
    }

    /// With weights of the base that lay in the file beside the factors; see [`Adapter::check_base`].
    pub(crate) fn with_saved(mut self, saved: BTreeMap<Site, Tensor>) -> Self {
        self.saved = saved;
        self
    }

    pub(crate) fn saved(&self) -> &BTreeMap<Site, Tensor> {
        &self.saved
    }

    /// Rank, scale, targets.
    pub fn config(&self) -> &LoraConfig {
        &self.config
    }

    /// The config, to be changed where that cannot break the adapter: names and dropout.
    pub fn set_base_model(&mut self, name: Option<String>, revision: Option<String>) {
        self.config.base_model_name_or_path = name;
        self.config.revision = revision;
    }

    /// Sets the dropout that training will use.
    ///
    /// # Errors
    /// A probability outside `[0, 1)`.
    pub fn set_dropout(&mut self, dropout: f64) -> Result<(), LoraError> {
        let mut config = self.config.clone();
        config.lora_dropout = dropout;
        self.config = config.checked()?;
        Ok(())
    }

    /// What multiplies `B A x` at a site; 0 where there is none.
    pub fn scale(&self, site: Site) -> f64 {
        self.shapes.get(&site).map_or(0.0, |shape| shape.scale)
    }

    /// Up to which layer it reaches: one more than the last that has a tensor; 0 where no layer has one.
    pub fn layers(&self) -> usize {
        self.layers
    }

    /// Every site with its tensors, in a fixed order.
    pub fn pairs(&self) -> impl Iterator<Item = (Site, &Pair)> {
        self.pairs.iter().map(|(site, pair)| (*site, pair))
    }

    /// Every tensor under PEFT's name, sorted by name.
    pub fn tensors(&self) -> BTreeMap<String, &Tensor> {
        let all = self.pairs();
        all.flat_map(|(site, pair)| pair.tensors().map(move |(f, t)| (f.tensor_name(site), t)))
            .collect()
    }

    /// How many numbers it holds.
    pub fn parameters(&self) -> usize {
        self.tensors().values().map(|t| t.elem_count()).sum()
    }

    /// Whether the adapter fits a model: the same number of layers, the same shapes.
    ///
    /// # Errors
    /// The first thing that does not fit, with what was found and what the model needs.
    pub fn check(&self, model: &ModelConfig) -> Result<(), LoraError> {
        for (site, pair) in self.pairs() {
            let (out, inputs) = site.dims(model);
            let rank = self.shapes.get(&site).map_or(self.config.r, |s| s.rank);
            for (factor, tensor) in pair.tensors() {
                let shape = match factor {
                    Factor::A => &[rank, inputs][..],
                    Factor::B => &[out, rank],
                    Factor::Magnitude => &[out],
                };
                if tensor.dims() != shape {
                    return Err(LoraError::Shape {
                        name: factor.tensor_name(site),
                        found: tensor.dims().to_vec(),
                        expected: shape.to_vec(),
                        from: "the model's config: this adapter belongs to another model",
                    });
                }
            }
        }
        let layers = model.num_hidden_layers;
        if self.layers > layers || self.config.sites(layers)?.len() != self.pairs.len() {
            return Err(LoraError::Layers {
                found: self.layers,
                expected: layers,
            });
        }
        Ok(())
    }
}

/// Rank and scale that the config gives the site of a tensor.
fn expected_shape(config: &LoraConfig, site: Site, factor: Factor) -> Result<Shape, LoraError> {
    if factor == Factor::Magnitude && !config.use_dora {
        return Err(LoraError::UnexpectedTensor {
            name: factor.tensor_name(site),
            why: "it is DoRA's, and the config has no use_dora".into(),
        });
    }
    if let Some(shape) = config.at(site)? {
        return Ok(shape);
    }
    let why = if config.target_modules.matches(site)? {
        "exclude_modules or layers_to_transform of the config leave it out".into()
    } else {
        let (name, targets) = (site.module().name(), &config.target_modules);
        format!("{name} is not among the config's target_modules ({targets})")
    };
    Err(LoraError::UnexpectedTensor {
        name: factor.tensor_name(site),
        why,
    })
}

fn check_rank(r: usize, site: Site, factor: Factor, tensor: &Tensor) -> Result<(), LoraError> {
    let expected = match (factor, tensor.dims()) {
        (Factor::A, [rank, _]) | (Factor::B, [_, rank]) if *rank == r => return Ok(()),
        (Factor::Magnitude, [_]) => return Ok(()),
        (Factor::A, [_, inputs]) => vec![r, *inputs],
        (Factor::B, [out, _]) => vec![*out, r],
        (Factor::Magnitude, other) => other.iter().take(1).copied().collect(),
        (_, other) => other.iter().take(1).copied().chain([r]).collect(),
    };
    Err(LoraError::Shape {
        name: factor.tensor_name(site),
        found: tensor.dims().to_vec(),
        expected,
        from: "r and rank_pattern in the adapter's config",
    })
}
