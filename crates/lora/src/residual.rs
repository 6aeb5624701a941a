//! Adapters that start as a part of the base, and what is left of the base without it.
//!
//! `PiSSA` and `OLoRA` start with factors `A₀`, `B₀` that are a part of the weight, so a run trains `A`, `B` beside
//!
//! ```text
//! W_res = W − s B₀ A₀        (the residual)
//! ```
//!
//! and what it learns is an update of `W_res`, of no use to anybody who has `W`. As an update of `W` it is plain LoRA of
//! twice the rank:
//!
//! ```text
//! W_res + s B A = W + s (B A − B₀ A₀) = W + s [B, −B₀] [A; A₀]
//! ```
//!
//! This is the only form that leaves a run: PEFT's own conversion (`path_initial_model_for_weight_conversion`), bit for
//! bit. Nothing is lost in it, since the first `r` rows of `A` and columns of `B` are what learns and the others are
//! what it started from: a run goes on from it without decomposing anything again.

use crate::adapter::{Adapter, Pair};
use crate::config::LoraConfig;
use crate::error::LoraError;
use crate::modules::Overrides;
use candle_core::Tensor;
use smollm_model::{Checkpoint, Site};
use std::collections::BTreeMap;

/// The factors `A₀`, `B₀` that a run starts from and that its base lacks.
#[derive(Clone, Debug)]
pub struct Residual {
    start: Adapter,
}

impl Residual {
    /// Of a run that starts from this adapter, of [`Adapter::init_as`] or PEFT's.
    pub fn new(start: Adapter) -> Self {
        Self { start }
    }

    /// The adapter that the run starts from.
    pub fn start(&self) -> &Adapter {
        &self.start
    }

    /// Takes the factors out of the base: whatever is loaded from it from now on has `W − s B₀ A₀`, formed in f32.
    ///
    /// # Errors
    /// The factors do not fit the model.
    pub fn take_out_of(&self, base: &mut Checkpoint) -> Result<(), LoraError> {
        self.start.check(base.config())?;
        for (site, update) in self.start.updates() {
            let Site::Block { layer, projection } = site else {
                return Err(LoraError::Residual {
                    reason: format!("{} keeps its whole weight", site.path()),
                });
            };
            base.subtract(layer, projection, &update)?;
        }
        Ok(())
    }

    /// What was learnt, as plain LoRA of twice the rank for the base as it was: `[A; A₀]` and `[B, −B₀]`.
    ///
    /// # Errors
    /// The adapter is not one of this run.
    pub fn plain(&self, learnt: &Adapter) -> Result<Adapter, LoraError> {
        let mut pairs = BTreeMap::new();
        for (site, pair) in learnt.pairs() {
            let start = self.start.pair(site).ok_or_else(|| LoraError::Residual {
                reason: format!("there are none for {}", site.path()),
            })?;
            let pair = Pair {
                a: Tensor::cat(&[&pair.a, &start.a], 0)?,
                b: Tensor::cat(&[&pair.b, &start.b.neg()?], 1)?,
                magnitude: None,
            };
            pairs.insert(site, pair);
        }
        Adapter::new(doubled(learnt.config())?, pairs)
    }

    /// The reverse of [`Residual::plain`], bit for bit: what was learnt, and what it had started from. `config` is that of
    /// the run, with its own rank.
    ///
    /// # Errors
    /// The adapter is not the plain form of one with this config.
    pub fn split(config: &LoraConfig, plain: &Adapter) -> Result<(Adapter, Self), LoraError> {
        let expected = LoraConfig {
            base_model_name_or_path: plain.config().base_model_name_or_path.clone(),
            revision: plain.config().revision.clone(),
            ..doubled(config)?
        };
        if *plain.config() != expected {
            let reason = format!(
                "its config is not that of this run with twice the rank (rank {}, expected {})",
                plain.config().r,
                expected.r
            );
            return Err(LoraError::Residual { reason });
        }
        let (mut learnt, mut start) = (BTreeMap::new(), BTreeMap::new());
        for (site, Pair { a, b, .. }) in plain.pairs() {
            let rank = a.dim(0)? / 2;
            let half = |first| {
                let (a, b) = (a.narrow(0, first, rank)?, b.narrow(1, first, rank)?);
                Ok::<_, LoraError>((a.contiguous()?, b.contiguous()?))
            };
            let (a, b) = half(0)?;
            learnt.insert(site, Pair::new(a, b));
            let (a, b) = half(rank)?;
            start.insert(site, Pair::new(a, b.neg()?));
        }
        let start = Adapter::new(config.clone(), start)?;
        Ok((Adapter::new(config.clone(), learnt)?, Self { start }))
    }
}

/// The config with twice the rank and the scale as it was: twice the alpha, or its `√2`-fold where the scale divides by
/// the root of the rank.
fn doubled(config: &LoraConfig) -> Result<LoraConfig, LoraError> {
    let factor = if config.use_rslora {
        std::f64::consts::SQRT_2
    } else {
        2.0
    };
    let ranks = config.rank_pattern.iter().map(|(key, r)| (key, 2 * r));
    let alphas = config.alpha_pattern.iter();
    let alphas = alphas.map(|(key, alpha)| (key, factor * alpha));
    Ok(LoraConfig {
        r: 2 * config.r,
        lora_alpha: factor * config.lora_alpha,
        rank_pattern: Overrides::new("rank_pattern", ranks)?,
        alpha_pattern: Overrides::new("alpha_pattern", alphas)?,
        ..config.clone()
    })
}
