//! `--device`: what computes.

use std::fmt;
use std::str::FromStr;

use smollm_model::ModelConfig;

#[cfg(feature = "device")]
mod card;
#[cfg(not(feature = "device"))]
#[path = "device/no_card.rs"]
mod card;

pub use card::Card;

/// What was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeviceArg {
    /// A GPU where there is one that can do it, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// An NVIDIA GPU, by its number.
    Cuda(usize),
}

impl FromStr for DeviceArg {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |rest: &str| rest.parse().ok().map(Self::Cuda);
        let found = match text {
            "auto" => Some(Self::Auto),
            "cpu" => Some(Self::Cpu),
            "cuda" => Some(Self::Cuda(0)),
            other => other.strip_prefix("cuda:").and_then(number),
        };
        found.ok_or("expected auto, cpu, cuda, or cuda:N for GPU N")
    }
}

impl fmt::Display for DeviceArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(0) => f.write_str("cuda"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

/// What `--device cuda` needs that this program does not have.
const NOT_BUILT: &str = "this program was built without the feature `cuda` (cargo build --release --features \
    smoltune/cuda; it needs nvcc, see docs/cuda.md)";

impl DeviceArg {
    /// The GPU that is to compute, `None` for the CPU. `obstacle` says what among what was asked for a GPU cannot do;
    /// `multiple_of` is what its kernels take 16 bytes of.
    ///
    /// # Errors
    /// Why a GPU that was asked for by name cannot be had or cannot compute this.
    pub fn card(
        self,
        model: &ModelConfig,
        multiple_of: usize,
        obstacle: Option<String>,
    ) -> Result<Option<Card>, String> {
        let card = |number| {
            if let Some(reason) = self.missing().or(obstacle) {
                return Err(reason);
            }
            fits(model, multiple_of)?;
            Card::open(number)
        };
        match self {
            Self::Cpu => Ok(None),
            Self::Cuda(number) => card(number).map(Some),
            Self::Auto => Ok(card(0).ok()),
        }
    }

    /// Why there is no GPU, as far as that can be told without reading a file.
    pub fn missing(self) -> Option<String> {
        match self {
            Self::Cpu => None,
            Self::Auto | Self::Cuda(_) if !Card::BUILT => Some(NOT_BUILT.to_owned()),
            Self::Auto | Self::Cuda(_) => Card::missing().map(str::to_owned),
        }
    }
}

/// Features of a head that the attention kernels take.
const HEAD_DIM: usize = 64;

/// Whether the kernels can compute the model.
///
/// # Errors
/// What is in the way.
fn fits(model: &ModelConfig, multiple_of: usize) -> Result<(), String> {
    if model.head_dim != HEAD_DIM {
        let found = model.head_dim;
        return Err(format!(
            "the model's heads have {found} features, the kernels take {HEAD_DIM}"
        ));
    }
    let widths = [
        ("hidden_size", model.hidden_size),
        ("intermediate_size", model.intermediate_size),
    ];
    let odd = widths
        .into_iter()
        .find(|(_, width)| width % multiple_of != 0);
    odd.map_or(Ok(()), |(what, width)| {
        Err(format!(
            "the model's {what} is {width}, the kernels take multiples of {multiple_of}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_as_they_are_written() {
        for (text, device) in [
            ("auto", DeviceArg::Auto),
            ("cpu", DeviceArg::Cpu),
            ("cuda", DeviceArg::Cuda(0)),
            ("cuda:3", DeviceArg::Cuda(3)),
        ] {
            assert_eq!(text.parse(), Ok(device));
            assert_eq!(device.to_string(), text);
        }
        assert_eq!("cuda:0".parse(), Ok(DeviceArg::Cuda(0)));
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cuda0", "CUDA", "cuda:1 "] {
            assert!(wrong.parse::<DeviceArg>().is_err(), "{wrong}");
        }
    }
}
