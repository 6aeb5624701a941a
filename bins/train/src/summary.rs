//! What the stage reports, to people, to scripts and to the manifest.

use std::path::Path;

use lora::{Adapter, TrainOutcome};
use serde::Serialize;
use serde_json::Value;
use stage::{Manifest, SYSTEM_ARGUMENT};

use crate::args::Args;
use crate::device::Device;
use crate::machine::Bytes;
use crate::rows::RowCounts;
use crate::scorer;

/// The outcome of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The adapter's folder.
    pub output_dir: String,
    /// Updates made, updates planned, last losses.
    #[serde(flatten)]
    pub outcome: TrainOutcome,
    /// Whether the adapter is the best one instead of the last one.
    pub loaded_best: bool,
    /// Numbers that were trained.
    pub trainable_parameters: usize,
    /// Seconds of training, evaluation included.
    pub seconds: f64,
    /// Tokens trained on in each of them.
    pub tokens_per_s: f64,
    /// What computed loss and gradients: `cpu`, or the GPU's name.
    pub device: String,
    /// The most bytes of a GPU's memory that weights and buffers took.
    pub device_memory: Option<u64>,
    /// What became of the training rows.
    pub train_rows: RowCounts,
    /// What became of the evaluation rows.
    pub eval_rows: Option<RowCounts>,
}

impl Summary {
    pub(crate) fn new(
        folder: &Path,
        outcome: TrainOutcome,
        trainable_parameters: usize,
        (seconds, tokens): (f64, usize),
        rows: (RowCounts, Option<RowCounts>),
    ) -> Self {
        Self {
            output_dir: folder.display().to_string(),
            loaded_best: false,
            trainable_parameters,
            seconds,
            tokens_per_s: tokens as f64 / seconds.max(1e-9),
            device: Device::Cpu.name(),
            device_memory: None,
            outcome,
            train_rows: rows.0,
            eval_rows: rows.1,
        }
    }

    /// What was skipped, why it ended early, and which step's adapter was kept.
    fn chosen(&self) -> String {
        let early = if self.outcome.stopped_early {
            ", stopped early"
        } else {
            ""
        };
        let best = match (self.loaded_best, &self.outcome.best) {
            (true, Some(best)) => format!(
                ", kept the adapter of step {} ({} {:.4})",
                best.step,
                scorer::label(&best.metric),
                best.value
            ),
            _ => String::new(),
        };
        let skipped = match self.outcome.skipped {
            0 => String::new(),
            skipped => format!(", {skipped} skipped"),
        };
        format!("{skipped}{early}{best}")
    }

    /// A few lines for people.
    pub(crate) fn text(&self) -> String {
        let loss = |name: &str, loss: Option<f64>| {
            loss.map_or_else(String::new, |loss| format!(", {name} {loss:.4}"))
        };
        let device = self.device_memory.map_or_else(String::new, |bytes| {
            format!(" on {}, {} of its memory", self.device, Bytes(bytes))
        });
        format!(
            "{} of {} steps{}{}{}; {} tokens at {:.0} tokens/s{device}\nadapter: {} ({} parameters)",
            self.outcome.steps,
            self.outcome.planned_steps,
            loss("loss", self.outcome.loss),
            loss("evaluation loss", self.outcome.eval_loss),
            self.chosen(),
            self.outcome.tokens,
            self.tokens_per_s,
            self.output_dir,
            self.trainable_parameters,
        )
    }
}

impl RowCounts {
    /// One line for people, where there is something to tell.
    pub(crate) fn text(&self, what: &str) -> String {
        let fates = [
            (self.blank, "blank, left out"),
            (self.shortened, "with a shortened context"),
            (self.cut, "cut off at the end"),
            (self.too_long, "too long, left out"),
        ];
        let told = fates.iter().filter(|(count, _)| *count > 0);
        let told = told.map(|(count, fate)| format!("; {count} {fate}"));
        format!("{} {what} rows{}", self.used, told.collect::<String>())
    }
}

/// The manifest with everything that decides the result.
pub(crate) fn manifest(args: &Args, adapter: &Adapter, device: Device) -> Manifest {
    let config = adapter.config();
    let excluded = config.exclude_modules.as_ref().map(ToString::to_string);
    let generating = |n: usize| args.predict_with_generate.then_some(n);
    let mut manifest = args.optim.record(Manifest::new("train"));
    if let Device::Card(card) = device {
        manifest = manifest.fact("device", card.name());
    }
    manifest
        .argument("max_seq_len", args.max_seq_len)
        .argument("epochs", args.epochs)
        .argument("max_steps", args.max_steps)
        .argument("lr", args.lr)
        .argument("lr_schedule", args.lr_schedule.name())
        .argument("warmup_ratio", args.warmup_ratio)
        .argument("warmup_steps", args.warmup_steps)
        .argument("decay_steps", args.decay_steps)
        .argument("loraplus_lr_ratio", args.loraplus_lr_ratio)
        .argument("loraplus_lr_embedding", args.loraplus_lr_embedding)
        .argument("neftune_noise_alpha", args.neftune_noise_alpha)
        .argument("bs", args.bs)
        .argument("ga", args.ga)
        .argument("weight_decay", args.weight_decay)
        .argument("max_grad_norm", args.max_grad_norm)
        .argument("ema_decay", args.ema_decay)
        .argument("eval_steps", args.eval_steps)
        .argument("predict_with_generate", args.predict_with_generate)
        .argument("gen_rows", generating(args.gen_rows))
        .argument(
            "generation_max_length",
            generating(args.generation_max_length),
        )
        .argument("metric_for_best_model", args.metric_for_best_model.as_str())
        .argument("on_nan", format!("{:?}", args.on_nan).to_lowercase())
        .argument("load_best_model_at_end", args.load_best_model_at_end)
        .argument("early_stopping_patience", args.early_stopping_patience)
        .argument("lora_r", config.r)
        .argument("lora_alpha", config.lora_alpha)
        .argument("lora_dropout", config.lora_dropout)
        .argument("target_modules", config.target_modules.to_string())
        .argument("exclude_modules", excluded)
        .argument("layers_to_transform", config.layers_to_transform.clone())
        .argument("rank_pattern", pattern(config.rank_pattern.iter()))
        .argument("alpha_pattern", pattern(config.alpha_pattern.iter()))
        .argument("rslora", config.use_rslora)
        .argument("use_dora", config.use_dora)
        .argument("init_lora_weights", args.init_lora_weights.to_string())
        .argument("bias", config.bias.name())
        .argument("shuffle", !args.no_shuffle)
        .argument("dtype", format!("{:?}", args.dtype).to_lowercase())
        .argument(
            "quantize",
            args.quantize.map(|kind| format!("{kind:?}").to_lowercase()),
        )
        .argument("engine", format!("{:?}", args.engine).to_lowercase())
        .argument("device", device.kind())
        .argument(
            "on_truncate",
            format!("{:?}", args.on_truncate).to_lowercase(),
        )
        .argument(
            "batching",
            format!("{:?}", args.train_config().batching).to_lowercase(),
        )
        .argument(
            SYSTEM_ARGUMENT,
            args.system.clone().filter(|text| !text.is_empty()),
        )
        .argument("date", args.date.map(|date| date.to_string()))
        .argument("compat", args.compat.map(|_| "original"))
        .seed("seed", args.seed)
}

/// A pattern as its file has it.
fn pattern<'a, T: Into<Value>>(pairs: impl Iterator<Item = (&'a str, T)>) -> Value {
    let pairs = pairs.map(|(key, value)| (key.to_owned(), value.into()));
    Value::Object(pairs.collect())
}
