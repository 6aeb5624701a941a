//! An adapter: its config and its two matrices for every site.

use crate::config::{LoraConfig, MOST_LAYERS, Shape};
use crate::error::LoraError;
use crate::names::{Factor, Site};
use candle_core::{DType, Device, Tensor};
use smollm_model::ModelConfig;
use std::collections::BTreeMap;

/// The two factors of one update `W + scale * B A`.
#[derive(Clone, Debug)]
pub struct Pair {
    /// `A`, `[r, in]`, f32, on the CPU.
    pub a: Tensor,
    /// `B`, `[out, r]`, f32, on the CPU.
    pub b: Tensor,
}

impl Pair {
    pub(crate) fn factor(&self, factor: Factor) -> &Tensor {
        match factor {
            Factor::A => &self.a,
            Factor::B => &self.b,
        }
    }
}

/// A LoRA adapter: one [`Pair`] for each place that its config names.
///
/// Whatever way it came to be, it is complete: layers `0..n` all have exactly the config's sites,
/// and every rank is the config's. Iteration is in one fixed order (layer, then projection).
#[derive(Clone, Debug)]
pub struct Adapter {
    /// Rank, scale, targets.
    config: LoraConfig,
    pairs: BTreeMap<Site, Pair>,
    /// Rank and scale of each pair.
    shapes: BTreeMap<Site, Shape>,
    layers: usize,
}

impl Adapter {
    /// An adapter from its parts.
    ///
    /// # Errors
    /// A missing or unexpected tensor, a rank that is not the config's.
    pub fn new(config: LoraConfig, pairs: BTreeMap<Site, Pair>) -> Result<Self, LoraError> {
        let config = config.checked()?;
        let tensors = pairs.into_iter().flat_map(|(site, pair)| {
            [((site, Factor::A), pair.a), ((site, Factor::B), pair.b)].into_iter()
        });
        Self::from_tensors(config, tensors)
    }

    /// An adapter from single tensors, in any order; converts them to f32 on the CPU.
    pub(crate) fn from_tensors(
        config: LoraConfig,
        tensors: impl IntoIterator<Item = ((Site, Factor), Tensor)>,
    ) -> Result<Self, LoraError> {
        let mut a = BTreeMap::new();
        let mut b = BTreeMap::new();
        for ((site, factor), tensor) in tensors {
            if site.layer >= MOST_LAYERS {
                return Err(LoraError::UnexpectedTensor {
                    name: site.tensor_name(factor),
                    why: format!("no model has {MOST_LAYERS} layers"),
                });
            }
            let shape = expected_shape(&config, site, factor)?;
            let of_factor = match factor {
                Factor::A => &mut a,
                Factor::B => &mut b,
            };
            let tensor = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
            check_rank(shape.rank, site, factor, &tensor)?;
            if of_factor.insert(site, tensor.contiguous()?).is_some() {
                return Err(LoraError::UnexpectedTensor {
                    name: site.tensor_name(factor),
                    why: "it is there twice".into(),
                });
            }
        }
        let seen = a.keys().chain(b.keys()).map(|site| site.layer);
        let named = config.layers_to_transform.iter().flatten().copied();
        let layers = seen.chain(named).max().map_or(1, |last| last + 1);
        let found = a.len() + b.len();
        let shapes = config.sites(layers)?;
        let expected = 2 * shapes.len();
        let mut pairs = BTreeMap::new();
        for (site, _) in &shapes {
            let missing = |factor| LoraError::MissingTensor {
                name: site.tensor_name(factor),
                expected,
                found,
            };
            let a = a.remove(site).ok_or_else(|| missing(Factor::A))?;
            let b = b.remove(site).ok_or_else(|| missing(Factor::B))?;
            pairs.insert(*site, Pair { a, b });
        }
        Ok(Self {
            config,
            pairs,
            shapes: shapes.into_iter().collect(),
            layers,
        })
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

    /// Up to which layer it reaches: one more than the last that has a tensor.
    pub fn layers(&self) -> usize {
        self.layers
    }

    /// Every site with its factors, in a fixed order.
    pub fn pairs(&self) -> impl Iterator<Item = (Site, &Pair)> {
        self.pairs.iter().map(|(site, pair)| (*site, pair))
    }

    /// Every tensor under PEFT's name, sorted by name.
    pub fn tensors(&self) -> BTreeMap<String, &Tensor> {
        let both = [Factor::A, Factor::B];
        self.pairs()
            .flat_map(|(site, pair)| both.map(|f| (site.tensor_name(f), pair.factor(f))))
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
            let (out, inputs) = site.projection.dims(model);
            let rank = self.shapes.get(&site).map_or(self.config.r, |s| s.rank);
            let expected = [(Factor::A, [rank, inputs]), (Factor::B, [out, rank])];
            for (factor, shape) in expected {
                if pair.factor(factor).dims() != shape {
                    return Err(LoraError::Shape {
                        name: site.tensor_name(factor),
                        found: pair.factor(factor).dims().to_vec(),
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
    if let Some(shape) = config.at(site)? {
        return Ok(shape);
    }
    let why = if config.target_modules.matches(site)? {
        "exclude_modules or layers_to_transform of the config leave it out".into()
    } else {
        let (name, targets) = (site.projection.name(), &config.target_modules);
        format!("{name} is not among the config's target_modules ({targets})")
    };
    Err(LoraError::UnexpectedTensor {
        name: site.tensor_name(factor),
        why,
    })
}

fn check_rank(r: usize, site: Site, factor: Factor, tensor: &Tensor) -> Result<(), LoraError> {
    let expected = match (factor, tensor.dims()) {
        (Factor::A, [rank, _]) | (Factor::B, [_, rank]) if *rank == r => return Ok(()),
        (Factor::A, [_, inputs]) => vec![r, *inputs],
        (Factor::B, [out, _]) => vec![*out, r],
        (_, other) => other.iter().take(1).copied().chain([r]).collect(),
    };
    Err(LoraError::Shape {
        name: site.tensor_name(factor),
        found: tensor.dims().to_vec(),
        expected,
        from: "r and rank_pattern in the adapter's config",
    })
}
