//! One adapter from several: PEFT's `add_weighted_adapter`.

mod svd;

use crate::adapter::{Adapter, Pair};
use crate::config::LoraConfig;
use crate::delta::same_module;
use crate::error::LoraError;
use crate::portable::{check_finite, plain, scaled};
use crate::target::TargetModules;
use candle_core::Tensor;
use smollm_model::Site;
use std::collections::{BTreeMap, BTreeSet};

/// How updates are combined: PEFT's `combination_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combination {
    /// Factors side by side: exactly `Σ w·ΔW`, with the sum of the ranks.
    Cat,
    /// Factors added, each with `sqrt(w·scale)`: the rank stays, but `A` of one meets `B` of the
    /// other, so this is not the sum of the updates.
    Linear,
    /// The nearest update to `Σ w·ΔW` of a rank; that of the largest adapter where none is given.
    Svd {
        /// The rank.
        rank: Option<usize>,
    },
}

/// One part of a site's sum: the factors, and weight times scale.
type Part<'a> = (&'a Pair, f64);

impl Adapter {
    /// Combines adapters of one base model, each with its weight. The first one's base, dropout and
    /// choice of modules are kept; where the choices differ, the modules of all are listed by path.
    ///
    /// # Errors
    /// No adapter, a weight that is no number, adapters of different models, ranks that differ with
    /// [`Combination::Linear`], a rank of 0, a DoRA adapter, a factor that is not finite or that its weight takes
    /// beyond f32.
    pub fn combine(parts: &[(&Self, f64)], how: Combination) -> Result<Self, LoraError> {
        let combine = |reason: String| LoraError::Combine { reason };
        let Some((first, _)) = parts.first() else {
            return Err(combine("there is no adapter".into()));
        };
        if parts.iter().any(|(adapter, _)| adapter.config().use_dora) {
            return Err(LoraError::Dora {
                action: "combined with others",
            });
        }
        if let Some((_, weight)) = parts.iter().find(|(_, weight)| !weight.is_finite()) {
            return Err(combine(format!("a weight is {weight}, expected a number")));
        }
        let largest = parts
            .iter()
            .map(|(adapter, _)| adapter.largest_rank())
            .max();
        let sites: BTreeSet<Site> = parts
            .iter()
            .flat_map(|(adapter, _)| adapter.pairs().map(|(site, _)| site))
            .collect();
        let mut pairs = BTreeMap::new();
        for site in &sites {
            let here = parts.iter().filter_map(|(adapter, weight)| {
                let pair = adapter.pair(*site)?;
                Some((pair, weight * adapter.scale(*site)))
            });
            let here: Vec<Part> = here.collect();
            for (pair, _) in &here[1..] {
                same_module(*site, here[0].0, pair)?;
            }
            let pair = match how {
                Combination::Cat => cat(&here)?,
                Combination::Linear => linear(*site, &here)?,
                Combination::Svd { rank } => {
                    let rank = rank.or(largest).filter(|rank| *rank > 0);
                    let rank = rank.ok_or_else(|| combine("the rank is 0".into()))?;
                    let whole = cat(&here)?;
                    // An infinite column would come out as a zero.
                    check_finite(*site, &whole)?;
                    svd::truncated(&whole, rank)?
                }
            };
            pairs.insert(*site, pair);
        }
        let rank = pairs.values().map(|pair| pair.a.dims()[0]).max();
        let config = LoraConfig {
            // The scale is in the factors.
            lora_alpha: rank.unwrap_or(1) as f64,
            ..places(parts, first, &sites)?
        };
        plain(config, pairs)
    }
}

/// A config that chooses these sites: the first adapter's, if all choose alike.
fn places(
    parts: &[(&Adapter, f64)],
    first: &Adapter,
    sites: &BTreeSet<Site>,
) -> Result<LoraConfig, LoraError> {
    let first = first.config().clone();
    let alike = parts.iter().map(|(adapter, _)| adapter.config()).all(|c| {
        c.target_modules == first.target_modules
            && c.exclude_modules == first.exclude_modules
            && c.layers_to_transform == first.layers_to_transform
    });
    if alike {
        return Ok(first);
    }
    let paths: Vec<String> = sites.iter().map(|site| site.path()).collect();
    Ok(LoraConfig {
        target_modules: TargetModules::from_names(paths.iter().map(String::as_str))?,
        exclude_modules: None,
        layers_to_transform: None,
        ..first
    })
}

/// `[A₁; A₂; …]`, each with its weight, and `[B₁ B₂ …]`.
fn cat(parts: &[Part]) -> Result<Pair, LoraError> {
    let a = parts.iter().map(|(pair, weight)| scaled(&pair.a, *weight));
    let b: Vec<&Tensor> = parts.iter().map(|(pair, _)| &pair.b).collect();
    Ok(Pair {
        a: Tensor::cat(&a.collect::<Result<Vec<_>, _>>()?, 0)?,
        b: Tensor::cat(&b, 1)?,
        magnitude: None,
    })
}

/// `Σ ±sqrt|w| A` and `Σ sqrt|w| B`.
fn linear(site: Site, parts: &[Part]) -> Result<Pair, LoraError> {
    let (first, _) = parts[0];
    let (mut a, mut b) = (first.a.zeros_like()?, first.b.zeros_like()?);
    for (pair, weight) in parts {
        if pair.a.dims() != first.a.dims() {
            let (found, expected) = (pair.a.dims()[0], first.a.dims()[0]);
            let reason = format!(
                "{} has rank {found} in one adapter and {expected} in another, and `linear` adds \
                 factors of one rank; use `cat` or `svd`",
                site.path()
            );
            return Err(LoraError::Combine { reason });
        }
        let root = weight.abs().sqrt();
        a = (a + scaled(&pair.a, root * weight.signum())?)?;
        b = (b + scaled(&pair.b, root)?)?;
    }
    let magnitude = None;
    Ok(Pair { a, b, magnitude })
}
