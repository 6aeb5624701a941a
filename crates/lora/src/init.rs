//! What a new adapter starts with: PEFT's `init_lora_weights`.
//!
//! The usual start leaves the model as it is: B is zero, or B A is. `PiSSA` and `OLoRA` put a part of each weight into
//! the factors instead, so that this part is what learns; it is taken out of the base in return, see [`Residual`].
//!
//! [`Residual`]: crate::Residual

mod decompose;
mod draw;

use crate::adapter::{Adapter, Pair};
use crate::config::{LoraConfig, Shape};
use crate::error::LoraError;
use crate::matrix::tensor;
use crate::names::Factor;
use crate::rng::Key;
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use smollm_model::ops::row_norms;
use smollm_model::{Checkpoint, ModelConfig, Site};
use std::fmt;
use std::ops::ControlFlow;
use std::str::FromStr;

/// How the factors of a new adapter start. The names are PEFT's.
///
/// ```
/// use lora::InitLoraWeights;
///
/// let fast: InitLoraWeights = "pissa_niter_4".parse()?;
/// assert!(fast.changes_base());
/// let error = "loftq".parse::<InitLoraWeights>().unwrap_err();
/// assert!(error.to_string().contains("loftq"));
/// # Ok::<(), lora::LoraError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InitLoraWeights {
    /// `true`: A uniform in `±1/sqrt(in)` (`kaiming_uniform_(a = sqrt 5)`), B zero. For the embedding, whatever is chosen
    /// for the others: A zero, B normal.
    #[default]
    Default,
    /// `gaussian`: A normal with standard deviation `1/r`, B zero.
    Gaussian,
    /// `orthogonal`: both random, in spaces of half the rank that are orthogonal to each other: `B A = 0`.
    Orthogonal,
    /// `pissa` (Meng et al. 2024): the `r` largest singular values of the weight and their vectors.
    Pissa,
    /// `pissa_niter_N`: the same, approximated by so many steps of a subspace iteration (Halko et al. 2011).
    PissaNiter(usize),
    /// `olora` (Büyükakyüz 2024): the first `r` columns of Q and rows of R of the weight's QR decomposition.
    Olora,
}

impl InitLoraWeights {
    /// Whether the factors start as a part of the base, which has to be taken out of it.
    pub fn changes_base(self) -> bool {
        matches!(self, Self::Pissa | Self::PissaNiter(_) | Self::Olora)
    }

    /// Whether there are such factors for every place that the config names.
    ///
    /// # Errors
    /// A rank above that of a weight or `use_dora` (`pissa`, `olora`), an odd rank (`orthogonal`), a scale of 0 or below
    /// (`pissa`).
    pub fn check(self, model: &ModelConfig, config: &LoraConfig) -> Result<(), LoraError> {
        if self.changes_base() && config.use_dora {
            return Err(LoraError::Field {
                field: "use_dora",
                found: "true".into(),
                expected: "false beside init_lora_weights = pissa or olora, whose adapters leave a run as plain LoRA",
            });
        }
        for (site, Shape { rank, scale }) in config.sites(model.num_hidden_layers)? {
            if self.changes_base() && site.layer().is_none() {
                return Err(LoraError::Field {
                    field: "init_lora_weights",
                    found: self.to_string(),
                    expected: "true, gaussian or orthogonal beside an adapter of embed_tokens or lm_head, which share one table; \
                               leave the two out of target_modules, or start the usual way",
                });
            }
            let (out, inputs) = site.dims(model);
            let most = out.min(inputs);
            if self.changes_base() && rank > most {
                return Err(LoraError::Decompose {
                    name: site.weight_name(),
                    reason: format!("it has rank {most} at the most, the adapter {rank}"),
                });
            }
            if self == Self::Orthogonal && site != Site::Embedding && !rank.is_multiple_of(2) {
                return Err(LoraError::Field {
                    field: "r",
                    found: rank.to_string(),
                    expected: "an even number, for init_lora_weights = orthogonal",
                });
            }
            if matches!(self, Self::Pissa | Self::PissaNiter(_)) && scale <= 0.0 {
                return Err(LoraError::Field {
                    field: "lora_alpha",
                    found: (scale * rank as f64).to_string(),
                    expected: "above 0, for init_lora_weights = pissa",
                });
            }
        }
        Ok(())
    }
}

impl fmt::Display for InitLoraWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("true"),
            Self::Gaussian => f.write_str("gaussian"),
            Self::Orthogonal => f.write_str("orthogonal"),
            Self::Pissa => f.write_str("pissa"),
            Self::PissaNiter(steps) => write!(f, "pissa_niter_{steps}"),
            Self::Olora => f.write_str("olora"),
        }
    }
}

impl FromStr for InitLoraWeights {
    type Err = LoraError;

    fn from_str(text: &str) -> Result<Self, LoraError> {
        let found = text.trim().to_ascii_lowercase();
        if let Some(steps) = found.strip_prefix("pissa_niter_") {
            let steps = steps.parse().map_err(|_| LoraError::Init {
                found: found.clone(),
                why: "",
            })?;
            return Ok(Self::PissaNiter(steps));
        }
        Ok(match found.as_str() {
            "true" | "default" => Self::Default,
            "gaussian" => Self::Gaussian,
            "orthogonal" => Self::Orthogonal,
            "pissa" => Self::Pissa,
            "olora" => Self::Olora,
            _ => {
                let why = match found.as_str() {
                    "false" => "; false is for PEFT's own tests: it changes the model at random",
                    "eva" | "corda" | "loftq" | "lora_ga" | "mica" => "; it is not supported",
                    _ => "",
                };
                return Err(LoraError::Init { found, why });
            }
        })
    }
}

impl Adapter {
    /// A new adapter that changes nothing yet: A uniform in `±1/sqrt(in)`, B zero; for the embedding A zero, B normal.
    ///
    /// PEFT's default: `kaiming_uniform_(a = sqrt 5)`, whose bound is `1/sqrt(fan_in)`, and for the embedding what
    /// `nn.Embedding` starts with. Each tensor's values depend on the seed and its own name alone.
    ///
    /// # Errors
    /// A config that makes no sense, or one with `use_dora`: magnitudes follow from weights, see
    /// [`Adapter::init_as`].
    pub fn init(model: &ModelConfig, config: LoraConfig, seed: u64) -> Result<Self, LoraError> {
        if config.use_dora {
            return Err(LoraError::Field {
                field: "use_dora",
                found: "true".into(),
                expected: "false where a new adapter is made without the base's weights",
            });
        }
        let config = config.checked()?;
        Self::each(model, &config, |place| match place.site {
            Site::Embedding => draw::embedding(place, seed),
            _ => draw::kaiming(place, seed),
        })
    }

    /// A new adapter that starts as `init` says. Where `init` [changes the base](InitLoraWeights::changes_base), it is
    /// meant for a base that a [`Residual`](crate::Residual) was taken out of. With `use_dora` magnitudes are the norms of the
    /// weights' rows, as they are kept in `dtype` (F32 or BF16), so that a new adapter changes nothing either.
    ///
    /// The same seed and weights give the same bits, whatever the number of threads.
    ///
    /// # Errors
    /// A config that makes no sense, or that there are no such factors for ([`InitLoraWeights::check`]); a weight that cannot
    /// be read or decomposed.
    pub fn init_as(
        init: InitLoraWeights,
        base: &Checkpoint,
        dtype: DType,
        config: LoraConfig,
        seed: u64,
    ) -> Result<Self, LoraError> {
        Self::init_watched(init, base, dtype, config, seed, &|| {
            ControlFlow::Continue(())
        })
    }

    /// As [`Adapter::init_as`]: decomposing the weights of a model takes seconds to minutes. `watch` is called after every
    /// one of the adapter's places, from any thread, and may end it.
    ///
    /// # Errors
    /// As [`Adapter::init_as`]; [`LoraError::Stopped`] if `watch` did not want more.
    pub fn init_watched(
        init: InitLoraWeights,
        base: &Checkpoint,
        dtype: DType,
        config: LoraConfig,
        seed: u64,
        watch: &(dyn Fn() -> ControlFlow<()> + Sync),
    ) -> Result<Self, LoraError> {
        let config = config.checked()?;
        init.check(base.config(), &config)?;
        Self::each(base.config(), &config, |place| {
            let pair = match init {
                _ if place.site == Site::Embedding => draw::embedding(place, seed),
                InitLoraWeights::Default => draw::kaiming(place, seed),
                InitLoraWeights::Gaussian => draw::gaussian(place, seed),
                InitLoraWeights::Orthogonal => draw::orthogonal(place, seed),
                InitLoraWeights::Pissa => decompose::pissa(place, base),
                InitLoraWeights::PissaNiter(steps) => {
                    decompose::pissa_niter(place, base, steps, place.key(Factor::A, seed))
                }
                InitLoraWeights::Olora => decompose::olora(place, base),
            }?;
            let magnitude = config.use_dora.then(|| place.magnitude(base, dtype));
            let magnitude = magnitude.transpose()?;
            match watch() {
                ControlFlow::Continue(()) => Ok(Pair { magnitude, ..pair }),
                ControlFlow::Break(()) => Err(LoraError::Stopped),
            }
        })
    }

    /// An adapter whose pairs are made one by one, several at a time.
    fn each(
        model: &ModelConfig,
        config: &LoraConfig,
        make: impl Fn(Place) -> Result<Pair, LoraError> + Sync,
    ) -> Result<Self, LoraError> {
        let sites = config.sites(model.num_hidden_layers)?;
        let made = |(site, shape): (Site, Shape)| {
            let (out, inputs) = site.dims(model);
            let place = Place {
                site,
                shape,
                out,
                inputs,
            };
            Ok((site, make(place)?))
        };
        let pairs = sites.into_par_iter().map(made);
        Self::new(config.clone(), pairs.collect::<Result<_, LoraError>>()?)
    }
}

/// Where a pair stands, and its sizes.
#[derive(Clone, Copy)]
struct Place {
    site: Site,
    shape: Shape,
    out: usize,
    inputs: usize,
}

impl Place {
    /// Addresses the numbers of a factor.
    fn key(&self, factor: Factor, seed: u64) -> Key {
        Key::new(seed).name(&factor.tensor_name(self.site))
    }

    /// The name of the weight.
    fn weight(&self, base: &Checkpoint) -> String {
        base.weight_of(self.site).weight_name()
    }

    /// Norms of the weight's rows, `[out]`.
    fn magnitude(&self, base: &Checkpoint, dtype: DType) -> Result<Tensor, LoraError> {
        let weight = base.tensor(&self.weight(base), &[self.out, self.inputs], dtype)?;
        Ok(row_norms(&weight)?)
    }

    /// A of these numbers, row by row, B zero.
    fn with_a(&self, a: Vec<f32>) -> Result<Pair, LoraError> {
        let b = Tensor::zeros((self.out, self.shape.rank), DType::F32, &Device::Cpu)?;
        let a = Tensor::from_vec(a, (self.shape.rank, self.inputs), &Device::Cpu)?;
        Ok(Pair::new(a, b))
    }

    /// Both factors by their elements.
    fn pair(
        &self,
        a: impl Fn(usize, usize) -> f64,
        b: impl Fn(usize, usize) -> f64,
    ) -> Result<Pair, LoraError> {
        let (rank, out, inputs) = (self.shape.rank, self.out, self.inputs);
        Ok(Pair::new(
            tensor((rank, inputs), a)?,
            tensor((out, rank), b)?,
        ))
    }
}
