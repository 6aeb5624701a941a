//! `--device`: where loss and gradients are computed.

use loader::{Adapter, Card, DeviceArg};
use smollm_model::{ModelConfig, Site};
use stage::StageError;

use crate::args::Args;
use crate::choices::{EngineArg, Precision};
use crate::say;

#[cfg(not(feature = "device"))]
#[path = "device/no_resident.rs"]
mod resident;
#[cfg(feature = "device")]
mod resident;

pub(crate) use resident::Resident;

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
    pub(crate) fn choose(
        args: &Args,
        model: &ModelConfig,
        start: &Adapter,
    ) -> Result<Self, StageError> {
        let auto = args.device == DeviceArg::Auto;
        if auto && !Card::BUILT {
            return Ok(Self::Cpu);
        }
        let asked = if auto {
            DeviceArg::Cuda(0)
        } else {
            args.device
        };
        let obstacle = obstacle(args).or_else(|| of_adapter(start));
        match asked.card(model, pack(args.dtype), obstacle) {
            Ok(card) => Ok(card.map_or(Self::Cpu, Self::Card)),
            Err(reason) if auto => {
                say(&format!("device: the CPU ({reason})"));
                Ok(Self::Cpu)
            }
            Err(reason) => Err(refusal(args.device, &reason)),
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
    let missing = || args.device.missing();
    // What no GPU can do is the better news where there is none.
    let reason = if Card::BUILT {
        obstacle(args).or_else(missing)
    } else {
        missing()
    };
    reason.map_or(Ok(()), |reason| Err(refusal(args.device, &reason)))
}

fn refusal(device: DeviceArg, reason: &str) -> StageError {
    StageError::usage(format!(
        "--device {device}: {reason}; --device cpu trains on the CPU"
    ))
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
    of_dora(args.use_dora)
}

fn of_adapter(start: &Adapter) -> Option<String> {
    let mut sites = start.pairs().map(|(site, _)| site);
    let outside = sites.find(|site| site.layer().is_none());
    let of_site = |site: Site| {
        let module = site.module().name();
        format!("adapters of {module} are trained on the CPU alone")
    };
    of_dora(start.config().use_dora).or_else(|| outside.map(of_site))
}

fn of_dora(dora: bool) -> Option<String> {
    dora.then(|| "DoRA's magnitudes are trained on the CPU alone".to_owned())
}

/// Numbers in 16 bytes, of which widths are multiples.
fn pack(dtype: Precision) -> usize {
    match dtype {
        Precision::F32 => 4,
        Precision::Bf16 => 8,
    }
}
