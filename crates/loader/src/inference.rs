//! The flags of every stage that answers questions: how the model is kept and run.

use clap::ValueEnum;
use smollm_model::{KvType, ModelConfig, PackedOptions, WeightFormat};

use crate::LoadError;
use crate::device::{Card, DeviceArg};

/// How the model is kept and run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::Args)]
pub struct InferenceArgs {
    /// How the weights are kept
    #[arg(long, value_enum, default_value_t)]
    pub dtype: Precision,
    /// Quantise the weights at load; takes the place of --dtype
    #[arg(long, value_enum, value_name = "TYPE")]
    pub quantize: Option<Quantization>,
    /// How keys and values are kept [default: f32 for f32 weights, else bf16]
    #[arg(long, value_enum, value_name = "TYPE", alias = "kv_dtype")]
    pub kv_dtype: Option<KvPrecision>,
    /// Threads [default: one for each core]; changes the speed, not the answers
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// What computes: cpu, cuda (an NVIDIA GPU; cuda:1 is the second), or auto: a GPU where this build knows GPUs (feature cuda) and one is there that can do what is asked for, else the CPU. A GPU needs heads of 64 features and keeps all weights as floats: bf16, or f32 with --dtype f32
    #[arg(long, value_name = "DEVICE", default_value_t)]
    pub device: DeviceArg,
}

/// Where a model is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    Cpu,
    Card(Card, CardPrecision),
}

/// How weights are kept on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CardPrecision {
    F32,
    Bf16,
}

#[cfg(feature = "device")]
impl CardPrecision {
    pub(crate) fn element(self) -> smollm_model::cuda::Element {
        match self {
            Self::F32 => smollm_model::cuda::Element::F32,
            Self::Bf16 => smollm_model::cuda::Element::Bf16,
        }
    }
}

/// How weights are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// As the file has them: the blocks of a quantised GGUF file, bf16, or f32
    #[default]
    Auto,
    /// 32 bits, and all arithmetic in f32: the most exact, and the slowest
    #[value(alias = "float32")]
    F32,
    /// 16 bits, with f32's range
    #[value(alias = "bfloat16")]
    Bf16,
}

/// What weights can be quantised to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Quantization {
    /// 8 bits, and a scale for 32 weights
    #[value(name = "q8_0", alias = "q8-0")]
    Q8_0,
}

/// How keys and values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(non_camel_case_types, reason = "ggml's own name")]
pub enum KvPrecision {
    /// 32 bits
    #[value(alias = "float32")]
    F32,
    /// 16 bits, with f32's range
    #[value(alias = "bfloat16")]
    Bf16,
    /// 8 bits, and a scale for each key and each value of a head
    #[value(name = "q8_0", alias = "q8-0")]
    Q8_0,
}

impl InferenceArgs {
    /// What the model is to be loaded with.
    pub fn options(&self) -> PackedOptions {
        PackedOptions {
            format: match (self.quantize, self.dtype) {
                (Some(Quantization::Q8_0), _) => WeightFormat::Q8_0,
                (None, Precision::Auto) => WeightFormat::Stored,
                (None, Precision::F32) => WeightFormat::F32,
                (None, Precision::Bf16) => WeightFormat::Bf16,
            },
            kv: self.kv_dtype.map(|kv| match kv {
                KvPrecision::F32 => KvType::F32,
                KvPrecision::Bf16 => KvType::Bf16,
                KvPrecision::Q8_0 => KvType::Q8_0,
            }),
            threads: self.threads.map(usize::from),
        }
    }

    /// Where the model is to be.
    ///
    /// # Errors
    /// If a GPU was asked for by name and cannot be had, or cannot do what else was asked for.
    pub(crate) fn place(&self, model: &ModelConfig) -> Result<Place, LoadError> {
        let (precision, pieces) = match self.dtype {
            Precision::F32 => (CardPrecision::F32, 4),
            Precision::Auto | Precision::Bf16 => (CardPrecision::Bf16, 8),
        };
        let card = self.device.card(model, pieces, self.obstacle());
        let card = card.map_err(|reason| LoadError::Device {
            device: self.device,
            reason,
        })?;
        Ok(card.map_or(Place::Cpu, |card| Place::Card(card, precision)))
    }

    /// What among the flags a GPU has no kernels for.
    fn obstacle(&self) -> Option<String> {
        let flags = [
            (
                self.quantize.is_some(),
                "--quantize keeps weights in blocks",
            ),
            (
                self.kv_dtype.is_some(),
                "--kv-dtype chooses how a CPU keeps keys and values",
            ),
        ];
        let wanted = flags.into_iter().find(|(wanted, _)| *wanted);
        wanted.map(|(_, why)| format!("{why}, a GPU has floats of one type"))
    }

    /// What the answers depend on, for manifests.
    ///
    /// # Errors
    /// If a GPU was asked for by name and cannot be had, or cannot do what else was asked for.
    pub fn describe(&self, model: &ModelConfig) -> Result<String, LoadError> {
        if let Place::Card(_, precision) = self.place(model)? {
            return Ok(format!("{precision:?} on a gpu").to_lowercase());
        }
        let PackedOptions { format, kv, .. } = self.options();
        let kv = kv.map_or(String::new(), |kv| format!(", keys and values {kv:?}"));
        Ok(format!("{format:?}{kv}").to_lowercase())
    }
}
