//! An adapter as the plainest LoRA there is: one rank, one alpha, modules by name.
//!
//! PEFT reads rank-stabilised scales, ranks and alphas of single modules and expressions that choose
//! modules. Other readers know `r`, `lora_alpha` and a list of names, and what they do not know
//! they pass over: the answers are then wrong without a sign. Here all of it is folded into the
//! factors. DoRA's magnitudes cannot be: they scale rows of the base's weights too.

use crate::adapter::{Adapter, Pair};
use crate::config::LoraConfig;
use crate::error::LoraError;
use crate::modules::Overrides;
use crate::target::TargetModules;
use candle_core::{DType, Tensor};
use smollm_model::{Module, Site};
use std::collections::BTreeMap;

impl Adapter {
    /// The same update as plain LoRA for a model of so many layers: `r` is the largest rank, shorter
    /// factors are filled up with zeros, the scale is `lora_alpha / r` everywhere, and
    /// `target_modules` lists projections, or, where not every layer has them, whole paths.
    ///
    /// If all scales are one and it is a whole `lora_alpha / r`, the factors keep their bits.
    /// Otherwise `lora_alpha` is `r`, and each `B` has its scale in it, rounded once.
    ///
    /// # Errors
    /// It is a DoRA adapter, whose magnitudes no factor can take in; a factor is not finite, or its
    /// scale takes it beyond f32; a tensor operation failed.
    pub fn portable(&self, layers: usize) -> Result<Self, LoraError> {
        if self.config().use_dora {
            return Err(LoraError::Dora {
                action: "written as plain LoRA",
            });
        }
        let rank = self.largest_rank();
        let sites: Vec<Site> = self.pairs().map(|(site, _)| site).collect();
        let mut scales = sites.iter().map(|site| self.scale(*site));
        let first = scales.next().unwrap_or(1.0);
        let alpha = first * rank as f64;
        // sqrt(r) makes 7.999999999999999 of 8.
        let whole = alpha.round();
        let is_whole = whole != 0.0 && (alpha - whole).abs() <= 1e-12 * whole.abs();
        let one_scale = is_whole && scales.all(|scale| scale == first);
        let mut pairs = BTreeMap::new();
        for (site, pair) in self.pairs() {
            let scale = if one_scale { 1.0 } else { self.scale(site) };
            let pair = Pair {
                a: pair.a.clone(),
                b: scaled(&pair.b, scale)?,
                magnitude: None,
            };
            pairs.insert(site, pair);
        }
        let config = LoraConfig {
            lora_alpha: if one_scale { whole } else { rank as f64 },
            target_modules: targets(&sites, layers)?,
            exclude_modules: None,
            layers_to_transform: None,
            ..self.config().clone()
        };
        plain(config, pairs)
    }

    /// The largest rank of any site.
    pub fn largest_rank(&self) -> usize {
        let ranks = self.pairs().map(|(_, pair)| rank_of(pair));
        ranks.max().unwrap_or(0)
    }
}

/// An adapter whose pairs have one rank, the largest of them, and no settings of their own; the
/// places that `config` chooses stay. Every number in them is finite.
pub(crate) fn plain(config: LoraConfig, pairs: BTreeMap<Site, Pair>) -> Result<Adapter, LoraError> {
    let rank = pairs.values().map(rank_of).max().unwrap_or(0);
    let config = LoraConfig {
        r: rank,
        rank_pattern: Overrides::default(),
        alpha_pattern: Overrides::default(),
        use_rslora: false,
        ..config
    };
    for (site, pair) in &pairs {
        check_finite(*site, pair)?;
    }
    let widened = pairs.into_iter().map(|(site, pair)| {
        let missing = rank - pair.b.dim(1)?;
        let pair = Pair {
            a: pair.a.pad_with_zeros(0, 0, missing)?,
            b: pair.b.pad_with_zeros(1, 0, missing)?,
            magnitude: pair.magnitude,
        };
        Ok((site, pair))
    });
    Adapter::new(config, widened.collect::<Result<_, LoraError>>()?)
}

/// Refuses factors that hold infinities or values that are no numbers.
pub(crate) fn check_finite(site: Site, pair: &Pair) -> Result<(), LoraError> {
    for (factor, tensor) in pair.tensors() {
        let values = tensor.flatten_all()?.to_vec1::<f32>()?;
        if let Some(bad) = values.into_iter().find(|value| !value.is_finite()) {
            return Err(LoraError::NotFinite {
                name: factor.tensor_name(site),
                found: bad,
            });
        }
    }
    Ok(())
}

/// A matrix times a number, computed in f64 and rounded once.
pub(crate) fn scaled(matrix: &Tensor, scale: f64) -> Result<Tensor, LoraError> {
    if scale == 1.0 {
        return Ok(matrix.clone());
    }
    let exact = matrix.to_dtype(DType::F64)?.affine(scale, 0.0)?;
    Ok(exact.to_dtype(DType::F32)?)
}

fn rank_of(pair: &Pair) -> usize {
    pair.a.dims().first().copied().unwrap_or(0)
}

/// Names of modules where every layer has the same ones; else every module by its path.
fn targets(sites: &[Site], layers: usize) -> Result<TargetModules, LoraError> {
    let used = |m: &Module| sites.iter().any(|site| site.module() == *m);
    let used: Vec<_> = Module::ALL.into_iter().filter(used).collect();
    let promised = Site::all(layers).filter(|site| used.contains(&site.module()));
    if sites.len() == promised.count() {
        return TargetModules::from_names(used.iter().map(|m| m.name()));
    }
    let paths: Vec<String> = sites.iter().map(|site| site.path()).collect();
    TargetModules::from_names(paths.iter().map(String::as_str))
}
