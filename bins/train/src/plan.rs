//! What a run will take, told before it begins: steps, tokens, arithmetic, memory, time.

mod memory;
mod remedy;

use loader::Opened;
use lora::{Adapter, Load, Sample, TrainConfig, Workload};
use serde::Serialize;
use smollm_model::{Checkpointing, SiteShape, TrainingCost, TrainingOptions, WeightFormat};
use stage::StageError;

use crate::args::Args;
use crate::choices::{EngineArg, KeepArg, Precision};
use crate::device::Device;
use crate::machine::{Bytes, available};
use crate::scorer::Questions;
use crate::train_error;

pub use memory::MemoryPlan;

/// What a run is planned from.
pub(crate) struct Planning<'a> {
    pub(crate) args: &'a Args,
    pub(crate) config: &'a TrainConfig,
    pub(crate) opened: &'a Opened,
    pub(crate) start: &'a Adapter,
    pub(crate) rows: &'a [Sample],
    pub(crate) eval_rows: &'a [Sample],
    pub(crate) questions: Option<&'a Questions>,
    pub(crate) device: Device,
    /// Bytes of a base that is in memory already, and no longer in what is available there.
    pub(crate) held: u64,
    /// Of the frozen weights in memory.
    pub(crate) weight_bytes: usize,
}

/// A run that has not begun.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// Optimiser steps.
    pub steps: usize,
    /// Batches that go through the model, one after the other.
    pub micro_batches: usize,
    /// Tokens trained on, rows counted each time they are used.
    pub tokens: usize,
    /// Of them, those in the loss.
    pub supervised_tokens: usize,
    /// The most tokens of one batch.
    pub largest_batch: usize,
    /// Evaluations, and the tokens of all of them.
    pub evaluations: usize,
    /// See `evaluations`.
    pub eval_tokens: usize,
    /// Floating-point operations of all updates and losses; answers that are generated are not in it.
    pub flops: f64,
    /// What is kept for the backward pass: `none` or `block`.
    pub checkpointing: &'static str,
    /// Weights that the adapter starts with a part of, decomposed before the first step; none where it starts from random
    /// numbers or from what there is.
    pub decomposed_weights: usize,
    /// What computes loss and gradients: `cpu`, or the GPU's name.
    pub device: String,
    /// Bytes of the device's memory that are needed at once; none with `--engine autograd`, whose memory is not predicted.
    pub memory: Option<MemoryPlan>,
    /// Bytes that may be used: `--memory-limit`, or what the device has available.
    pub memory_limit: Option<u64>,
    /// Beside a GPU: bytes of the machine's own memory.
    pub host_memory: Option<usize>,
    /// Seconds, from a batch that was measured; answers that are generated are not in it.
    pub seconds: Option<f64>,
    /// Floating-point operations a second of that batch.
    pub flops_per_s: Option<f64>,
}

impl Plan {
    /// Counts and predicts; nothing is loaded.
    pub(crate) fn new(planning: &Planning<'_>) -> Result<Self, StageError> {
        let args = planning.args;
        let work = Workload::new(planning.rows, planning.eval_rows, planning.config);
        let work = work.map_err(train_error)?;
        let packed = args.engine == EngineArg::Packed;
        let memory = |how| packed.then(|| planning.memory(work.largest, how));
        // What an earlier run on the same base has left, this one uses again: weights, buffers, the program itself.
        let free = match planning.device {
            Device::Cpu => available().map(|free| free.0),
            Device::Card(card) => card.free(),
        };
        let free = free.map(|free| Bytes(free + planning.held));
        let limit = args.memory_limit.or(free);
        let totals = [Checkpointing::None, Checkpointing::Block].map(memory);
        let chosen = match (args.checkpointing, totals[0], limit) {
            (KeepArg::Block, ..) => Checkpointing::Block,
            (KeepArg::Auto, Some(memory), Some(limit)) if memory.total as u64 > limit.0 => {
                Checkpointing::Block
            }
            _ => Checkpointing::None,
        };
        let sites = sites(planning.start);
        let cost = planning.cost(chosen, &sites);
        let flops =
            cost.gradient_flops(work.training.shape()) + cost.loss_flops(work.evaluation.shape());
        Ok(Self {
            steps: work.steps,
            micro_batches: work.micro_batches,
            tokens: work.training.tokens,
            supervised_tokens: work.training.supervised,
            largest_batch: work.largest.tokens,
            evaluations: work.evaluations,
            eval_tokens: work.evaluation.tokens,
            flops,
            checkpointing: match chosen {
                Checkpointing::None => "none",
                Checkpointing::Block => "block",
            },
            decomposed_weights: if args.init_lora_weights.changes_base() {
                sites.len()
            } else {
                0
            },
            device: planning.device.name(),
            host_memory: planning.host_memory(),
            memory: match chosen {
                Checkpointing::None => totals[0],
                Checkpointing::Block => totals[1],
            },
            memory_limit: limit.map(|limit| limit.0),
            seconds: None,
            flops_per_s: None,
        })
    }

    /// What is to be kept for the backward pass.
    pub(crate) fn checkpointing(&self) -> Checkpointing {
        match self.checkpointing {
            "block" => Checkpointing::Block,
            _ => Checkpointing::None,
        }
    }

    /// Takes in that a batch of `flops` took `seconds`.
    pub(crate) fn measured(&mut self, flops: f64, seconds: f64) {
        let rate = flops / seconds;
        self.flops_per_s = Some(rate);
        self.seconds = Some(self.flops / rate);
    }

    /// Refuses a run that does not fit, and says what would.
    pub(crate) fn check(&self, planning: &Planning<'_>) -> Result<(), StageError> {
        if let (Some(needed), Some(free)) = (self.host_memory, available())
            && needed as u64 > free.0
        {
            return Err(StageError::usage(format!(
                "beside the GPU's memory the run needs about {} of this machine's, which has {free} available",
                Bytes(needed as u64)
            )));
        }
        let (Some(memory), Some(limit)) = (self.memory, self.memory_limit) else {
            return match planning.args.memory_limit {
                Some(_) if self.memory.is_none() => Err(StageError::usage(
                    "--memory-limit needs --engine packed: the memory of autograd is not predicted",
                )),
                _ => Ok(()),
            };
        };
        if memory.total as u64 <= limit {
            return Ok(());
        }
        let whose = match planning.args.memory_limit {
            Some(_) => "--memory-limit",
            None => "available on this machine; --memory-limit says otherwise",
        };
        let whose = match planning.device {
            Device::Card(card) => whose.replace("this machine", &card.name()),
            Device::Cpu => whose.to_owned(),
        };
        Err(StageError::usage(format!(
            "the run needs about {} of memory, {} may be used ({whose}); {}",
            Bytes(memory.total as u64),
            Bytes(limit),
            self.remedy(planning, limit as usize)
        )))
    }

    /// One line for people.
    pub(crate) fn text(&self) -> String {
        let (on, whose) = match self.host_memory {
            None => (String::new(), ""),
            Some(_) => (format!(" on {}", self.device), "its "),
        };
        let memory = self.memory.map_or(String::new(), |memory| {
            let other = match self.checkpointing() {
                Checkpointing::None => ("block", memory.total_with_checkpointing),
                Checkpointing::Block => ("none", memory.total_without_checkpointing),
            };
            format!(
                ", about {} of {whose}memory ({} with --checkpointing {})",
                Bytes(memory.total as u64),
                Bytes(other.1 as u64),
                other.0
            )
        });
        let evaluations = match self.evaluations {
            0 => String::new(),
            n => format!(", {n} evaluations of {} tokens in all", self.eval_tokens),
        };
        let decomposed = match self.decomposed_weights {
            0 => String::new(),
            n => format!(", {n} weights to decompose first if it is a new run"),
        };
        let time = match (self.seconds, self.flops_per_s) {
            (Some(seconds), Some(rate)) => {
                format!(", about {} at {:.0} GFLOP/s", duration(seconds), rate / 1e9)
            }
            _ => String::new(),
        };
        format!(
            "plan{on}: {} steps, {} tokens ({} supervised), at most {} at once{evaluations}{decomposed}, {:.3} TFLOP{memory}{time}",
            self.steps,
            self.tokens,
            self.supervised_tokens,
            self.largest_batch,
            self.flops / 1e12
        )
    }
}

impl Planning<'_> {
    /// Floating-point operations of the gradients of some rows.
    pub(crate) fn gradient_flops(&self, rows: &[Sample], how: Checkpointing) -> f64 {
        let sites = sites(self.start);
        let cost = self.cost(how, &sites);
        cost.gradient_flops(Load::of(rows).shape())
    }

    fn cost<'s>(&'s self, how: Checkpointing, sites: &'s [SiteShape]) -> TrainingCost<'s> {
        let cost = TrainingCost::new(self.opened.config(), options(self.args, how), sites);
        cost.with_weight_bytes(self.weight_bytes)
    }
}

/// How the packed model is loaded.
pub(crate) fn options(args: &Args, checkpointing: Checkpointing) -> TrainingOptions {
    TrainingOptions {
        dtype: args.dtype.dtype(),
        // Blocks within a product of f32 cost a twentieth of the time and save most of the weights' memory; beside bf16 it
        // is a tenth, for less (measured).
        format: match (args.quantize, args.dtype) {
            (Some(quantize), _) => quantize.format(),
            (None, Precision::F32) => WeightFormat::Stored,
            (None, Precision::Bf16) => WeightFormat::Bf16,
        },
        checkpointing,
        threads: None,
    }
}

fn sites(adapter: &Adapter) -> Vec<SiteShape> {
    let dropout = adapter.config().lora_dropout > 0.0;
    let shape = |(site, pair): (lora::Site, &lora::Pair)| SiteShape {
        site,
        rank: pair.a.dims()[0],
        dropout: dropout && site != lora::Site::Embedding,
        magnitude: pair.magnitude.is_some(),
    };
    adapter.pairs().map(shape).collect()
}

/// `42 s`, `6 min 10 s`, `3 h 5 min`.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, _) if seconds < 10.0 => format!("{seconds:.1} s"),
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}
