//! `--device`: where loss and gradients are computed.

use std::fmt;
use std::str::FromStr;

use smollm_model::ModelConfig;
use stage::StageError;

use crate::args::Args;
use crate::choices::EngineArg;
use crate::say;

#[cfg(feature = "device")]
mod card;
#[cfg(not(feature = "device"))]
#[path = "device/no_card.rs"]
mod card;

pub(crate) use card::{Card, Resident};

/// What the CPU takes over where a GPU cannot.
const REMEDY: &str = "--device cpu trains on the CPU";

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

/// Where a run computes.
#[derive(Clone, Copy)]
pub(crate) enum Device {
    Cpu,
    Card(Card),
}

impl Device {
    /// The device of a run, once model and adapter are known; says where `auto` is the CPU in a build that knows GPUs.
    ///
    /// # Errors
    /// Exit code 2 if a GPU was asked for that is not there, or that cannot train this.
    pub(crate) fn choose(args: &Args, model: &ModelConfig, dora: bool) -> Result<Self, StageError> {
        let card = |number| {
            if let Some(reason) = obstacle(args).or_else(|| of_adapter(dora)) {
                return Err(reason);
            }
            Card::fits(model, args.dtype)?;
            Card::open(number)
        };
        match args.device {
            DeviceArg::Cpu => Ok(Self::Cpu),
            DeviceArg::Cuda(number) => card(number)
                .map(Self::Card)
                .map_err(|reason| refusal(args.device, &reason)),
            DeviceArg::Auto if !Card::BUILT => Ok(Self::Cpu),
            DeviceArg::Auto => Ok(card(0).map_or_else(
                |reason| {
                    say(&format!("device: the CPU ({reason})"));
                    Self::Cpu
                },
                Self::Card,
            )),
        }
    }

    /// What decides a run's numbers: GPUs and CPUs add up in other orders.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Card(_) => "cuda",
        }
    }

    /// For people: `cpu`, or the card's name.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Cpu => "cpu".to_owned(),
            Self::Card(card) => card.name(),
        }
    }

    /// By what a base in memory is known again.
    pub(crate) fn place(self) -> Option<usize> {
        match self {
            Self::Cpu => None,
            Self::Card(card) => Some(card.number()),
        }
    }
}

/// Refuses a GPU that was asked for and cannot be had, as far as that can be told without reading a file.
///
/// # Errors
/// Exit code 2.
pub(crate) fn check(args: &Args) -> Result<(), StageError> {
    let DeviceArg::Cuda(_) = args.device else {
        return Ok(());
    };
    let reason = if Card::BUILT {
        obstacle(args).or_else(|| Card::missing().map(str::to_owned))
    } else {
        Some(
            "this program was built without the feature `cuda` (cargo build --release --features smoltune/cuda; it \
             needs nvcc, see docs/cuda.md)"
                .to_owned(),
        )
    };
    reason.map_or(Ok(()), |reason| Err(refusal(args.device, &reason)))
}

fn refusal(device: DeviceArg, reason: &str) -> StageError {
    StageError::usage(format!("--device {device}: {reason}; {REMEDY}"))
}

/// What among the flags a GPU has no kernels for.
fn obstacle(args: &Args) -> Option<String> {
    if args.engine == EngineArg::Autograd {
        return Some("--engine autograd runs on the CPU alone".to_owned());
    }
    if args.quantize.is_some() {
        return Some(
            "--quantize keeps weights in blocks, a GPU keeps them as --dtype says".to_owned(),
        );
    }
    of_adapter(args.use_dora)
}

fn of_adapter(dora: bool) -> Option<String> {
    dora.then(|| "DoRA's magnitudes are trained on the CPU alone".to_owned())
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
