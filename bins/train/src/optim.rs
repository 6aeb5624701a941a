//! Which optimiser, on the command line.

#![allow(clippy::doc_markdown, reason = "these comments are the help text")]

use clap::ValueEnum;
use lora::{AdafactorConfig, AdamWConfig, LionConfig, MuonConfig, Optim, SgdConfig};
use stage::{Manifest, StageError};

/// What makes updates of gradients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum OptimArg {
    /// Two moments of every element
    #[default]
    #[value(name = "adamw", alias = "adamw_torch")]
    AdamW,
    /// The gradient, with --momentum or without; its weight decay is L2
    Sgd,
    /// Second moments by row and column; transformers' with a rate that is given
    Adafactor,
    /// The sign of a moving average; wants a rate of a third to a tenth
    #[value(alias = "lion_32bit")]
    Lion,
    /// Momentum made orthogonal, at AdamW's rates
    Muon,
}

/// The optimiser and its numbers.
#[derive(Debug, Clone, clap::Args)]
pub struct OptimArgs {
    /// What makes updates of gradients: adamw, sgd, adafactor (transformers', with the rate that is given), lion or muon
    #[arg(
        long,
        value_enum,
        value_name = "NAME",
        default_value_t,
        hide_possible_values = true
    )]
    pub optim: OptimArg,
    /// How much of the first moment a step keeps; adamw, lion [default: 0.9]
    #[arg(long, value_name = "X", alias = "adam_beta1")]
    pub adam_beta1: Option<f64>,
    /// How much of the second moment a step keeps, with lion of its average [default: 0.999, lion 0.99]
    #[arg(long, value_name = "X", alias = "adam_beta2")]
    pub adam_beta2: Option<f64>,
    /// What adamw adds to what it divides by [default: 1e-8]
    #[arg(long, value_name = "X", alias = "adam_epsilon")]
    pub adam_epsilon: Option<f64>,
    /// How much of the last direction a step keeps; sgd, muon [default: 0, muon 0.95]
    #[arg(long, value_name = "X")]
    pub momentum: Option<f64>,
    /// Nesterov momentum with sgd; muon's always is
    #[arg(long)]
    pub nesterov: bool,
}

impl OptimArgs {
    /// Refuses a number that the optimiser does not have.
    ///
    /// # Errors
    /// Exit code 2, with the flag.
    pub(crate) fn check(&self) -> Result<(), StageError> {
        use OptimArg::{AdamW, Lion, Muon, Sgd};
        let with_momentum = self.optim == Sgd && self.momentum.is_some_and(|m| m > 0.0);
        let given: [(&str, bool, &[OptimArg]); 5] = [
            ("--adam-beta1", self.adam_beta1.is_some(), &[AdamW, Lion]),
            ("--adam-beta2", self.adam_beta2.is_some(), &[AdamW, Lion]),
            ("--adam-epsilon", self.adam_epsilon.is_some(), &[AdamW]),
            ("--momentum", self.momentum.is_some(), &[Sgd, Muon]),
            ("--nesterov", self.nesterov, &[Sgd]),
        ];
        for (flag, given, of) in given {
            if given && !of.contains(&self.optim) {
                let names: Vec<String> = of.iter().map(|optim| name(*optim)).collect();
                return Err(StageError::usage(format!(
                    "{flag} is for --optim {}, not for {}",
                    names.join(" and "),
                    name(self.optim)
                )));
            }
        }
        if self.nesterov && !with_momentum {
            return Err(StageError::usage(
                "--nesterov needs a --momentum above 0, as in torch",
            ));
        }
        Ok(())
    }

    /// What the trainer needs to know.
    pub(crate) fn optim(&self) -> Optim {
        match self.optim {
            OptimArg::AdamW => {
                let default = AdamWConfig::default();
                Optim::AdamW(AdamWConfig {
                    beta1: self.adam_beta1.unwrap_or(default.beta1),
                    beta2: self.adam_beta2.unwrap_or(default.beta2),
                    eps: self.adam_epsilon.unwrap_or(default.eps),
                })
            }
            OptimArg::Sgd => Optim::Sgd(SgdConfig {
                momentum: self.momentum.unwrap_or_default(),
                nesterov: self.nesterov,
            }),
            OptimArg::Adafactor => Optim::Adafactor(AdafactorConfig),
            OptimArg::Lion => {
                let default = LionConfig::default();
                Optim::Lion(LionConfig {
                    beta1: self.adam_beta1.unwrap_or(default.beta1),
                    beta2: self.adam_beta2.unwrap_or(default.beta2),
                })
            }
            OptimArg::Muon => {
                let default = MuonConfig::default();
                Optim::Muon(MuonConfig {
                    momentum: self.momentum.unwrap_or(default.momentum),
                    ..default
                })
            }
        }
    }

    /// Adds the optimiser and the numbers that it has.
    pub(crate) fn record(&self, manifest: Manifest) -> Manifest {
        let manifest = manifest.argument("optim", name(self.optim));
        match self.optim() {
            Optim::AdamW(AdamWConfig { beta1, beta2, eps }) => manifest
                .argument("adam_beta1", beta1)
                .argument("adam_beta2", beta2)
                .argument("adam_epsilon", eps),
            Optim::Sgd(SgdConfig { momentum, nesterov }) => manifest
                .argument("momentum", momentum)
                .argument("nesterov", nesterov),
            Optim::Adafactor(_) => manifest,
            Optim::Lion(LionConfig { beta1, beta2 }) => manifest
                .argument("adam_beta1", beta1)
                .argument("adam_beta2", beta2),
            Optim::Muon(MuonConfig { momentum, .. }) => manifest.argument("momentum", momentum),
        }
    }
}

fn name(optim: OptimArg) -> String {
    let value = optim.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}
