//! The stage's command line.

#![allow(clippy::doc_markdown, reason = "these comments are the help text")]

use std::path::PathBuf;

use chat_prompt::Date;
use loader::{DeviceArg, ModelSpec};
use lora::{Batching, Bias, InitLoraWeights, Modules, OnNan, Schedule, TargetModules, TrainConfig};

use crate::choices::{
    BatchingArg, Compat, EngineArg, KeepArg, OnNanArg, OnTruncate, Precision, QuantizeArg, ReportTo,
};
use crate::machine::Bytes;
use crate::optim::OptimArgs;

/// Where evaluation rows are looked for when `--eval_csv` is not given: what `prepare --val` writes,
/// and the original's name.
const DEFAULT_EVAL: [&str; 2] = ["data/val.csv", "data/eval.csv"];

/// Rank and alpha of a new adapter.
pub(crate) const DEFAULT_R: usize = 16;
pub(crate) const DEFAULT_ALPHA: f64 = 32.0;

/// Shown at the end of `--help`.
const EXAMPLES: &str = "\
Examples:
  The defaults, on data/train.csv:
    train --model-name HuggingFaceTB/SmolLM2-135M-Instruct

  What would it take, and would it fit into 4 GB?
    train --dry-run --memory-limit 4GB --checkpointing auto

  Checkpoints that survive a crash; the second command goes on:
    train --save-steps 50 --save-total-limit 2
    train --save-steps 50 --save-total-limit 2 --resume

  Keep the adapter with the best evaluation loss, stop when three evaluations were no better:
    train --eval-csv data/val.csv --eval-steps 20 --load-best-model-at-end --early-stopping-patience 3

  Answer 48 evaluation rows every 20 steps, too, and keep the adapter with the best ROUGE-L:
    train --eval-csv data/val.csv --eval-steps 20 --predict-with-generate --gen-rows 48 --metric-for-best-model rougeL --load-best-model-at-end

  Watch it in TensorBoard (tensorboard --logdir adapter/runs), pass over steps that are no numbers:
    train --report-to tensorboard --on-nan skip

  Every linear layer, rank 32 in the MLP, rsLoRA, LoRA+:
    train --target-modules all-linear --rank-pattern '(gate|up|down)_proj=32' --rslora --loraplus-lr-ratio 16

  Start with the largest singular values of each weight, with noise on the embeddings:
    train --init-lora-weights pissa_niter_4 --lora-dropout 0 --neftune-noise-alpha 5

  Warm up for 10 steps, stay, decay in the last 50:
    train --lr-schedule warmup_stable_decay --warmup-steps 10 --decay-steps 50";

/// Fine-tune with LoRA.
///
/// Writes the adapter (adapter_config.json and adapter_model.safetensors, as PEFT reads them),
/// train_log.jsonl and manifest.json into the output folder. With the same seed and the same machine
/// the adapter has the same bytes, whatever the number of threads.
#[derive(Debug, Clone, clap::Parser)]
///
/// With --save-steps it also writes checkpoint-N folders. After Ctrl-C (which saves one) or a crash
/// the same command with --resume goes on, and ends with the bytes of a run that never stopped.
#[command(name = "train", version, after_long_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "one a flag")]
pub struct Args {
    /// The model: hub id, folder, .gguf file, or an adapter folder to go on from [default: HuggingFaceTB/SmolLM2-135M-Instruct]
    #[arg(long, value_name = "MODEL", aliases = ["model_name", "model"])]
    pub model_name: Option<String>,
    /// The base model, where the model is an adapter folder that names another one; alone, the model
    #[arg(long, value_name = "MODEL", alias = "base_model")]
    pub base_model: Option<String>,
    /// Revision of a hub model
    #[arg(long)]
    pub revision: Option<String>,
    /// Rows to train on: .csv, .jsonl or .json
    #[arg(long, value_name = "FILE", default_value = "data/train.csv", aliases = ["train_csv", "train-file", "train_file"])]
    pub train_csv: PathBuf,
    /// Rows to compute the evaluation loss on [default: data/val.csv or data/eval.csv, if there]
    #[arg(long, value_name = "FILE", aliases = ["eval_csv", "eval-file", "eval_file"])]
    pub eval_csv: Option<PathBuf>,
    /// No evaluation, even where data/val.csv or data/eval.csv is there
    #[arg(long, conflicts_with = "eval_csv", alias = "no_eval")]
    pub no_eval: bool,
    /// Folder to write into; made if need be
    #[arg(long, value_name = "DIR", default_value = "adapter", aliases = ["output_dir", "out", "out-dir", "out_dir"])]
    pub output_dir: PathBuf,
    /// Longest row in tokens; see --on-truncate
    #[arg(long, value_name = "N", default_value_t = 1024, alias = "max_seq_len")]
    pub max_seq_len: usize,
    /// Passes over the rows; may be a fraction
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub epochs: f64,
    /// Optimiser steps, whatever --epochs says; also the length of the schedule
    #[arg(long, value_name = "N", alias = "max_steps")]
    pub max_steps: Option<usize>,
    /// Peak of the learning rate
    #[arg(long, value_name = "X", default_value_t = 2e-4, aliases = ["learning-rate", "learning_rate"])]
    pub lr: f64,
    /// What the learning rate does: constant (no warm-up), constant_with_warmup, linear, cosine or warmup_stable_decay
    #[arg(long, value_name = "NAME", default_value_t, aliases = ["lr_schedule", "lr-scheduler-type", "lr_scheduler_type"])]
    pub lr_schedule: Schedule,
    /// Part of all steps in which the learning rate rises from 0
    #[arg(long, value_name = "R", default_value_t = 0.03, alias = "warmup_ratio")]
    pub warmup_ratio: f64,
    /// Steps in which the learning rate rises from 0, whatever --warmup-ratio says
    #[arg(long, value_name = "N", alias = "warmup_steps")]
    pub warmup_steps: Option<usize>,
    /// Steps at the end in which warmup_stable_decay falls [default: a tenth of all]
    #[arg(long, value_name = "N", alias = "decay_steps")]
    pub decay_steps: Option<usize>,
    /// LoRA+: the matrices B, and DoRA's magnitudes, learn with so many times the rate of the matrices A
    #[arg(long, value_name = "X", alias = "loraplus_lr_ratio")]
    pub loraplus_lr_ratio: Option<f64>,
    /// LoRA+: peak of the learning rate of an adapter of embed_tokens [default: 1e-6]
    #[arg(long, value_name = "X", alias = "loraplus_lr_embedding")]
    pub loraplus_lr_embedding: Option<f64>,
    /// Rows that go through the model together (packed, no padding)
    #[arg(long, value_name = "N", default_value_t = 1, aliases = ["batch-size", "batch_size"])]
    pub bs: usize,
    /// Batches in one optimiser step
    #[arg(long, value_name = "N", default_value_t = 16, aliases = ["gradient-accumulation-steps", "gradient_accumulation_steps"])]
    pub ga: usize,
    /// The optimiser and its numbers
    #[command(flatten)]
    pub optim: OptimArgs,
    /// Weight decay of all of the adapter; decoupled, but with --optim sgd
    #[arg(long, value_name = "X", default_value_t = 0.0, alias = "weight_decay")]
    pub weight_decay: f64,
    /// Scale gradients down to this norm; 0 leaves them alone
    #[arg(long, value_name = "X", default_value_t = 1.0, alias = "max_grad_norm")]
    pub max_grad_norm: f64,
    /// Average the adapter over steps, keeping this part of the average in each, such as 0.999: what is evaluated and saved is the average
    #[arg(long, value_name = "X", alias = "ema_decay")]
    pub ema_decay: Option<f64>,
    /// Steps between evaluations
    #[arg(long, value_name = "N", default_value_t = 50, alias = "eval_steps")]
    pub eval_steps: usize,
    /// Steps between checkpoints [default: only Ctrl-C saves one]
    #[arg(long, value_name = "N", alias = "save_steps")]
    pub save_steps: Option<usize>,
    /// Checkpoints to keep: the newest, and the best where it is asked for [default: all]
    #[arg(long, value_name = "N", alias = "save_total_limit")]
    pub save_total_limit: Option<usize>,
    /// Go on from the newest whole checkpoint in the output folder, or from the one named; from the start where there is none
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "true", visible_alias = "resume", alias = "resume_from_checkpoint")]
    pub resume_from_checkpoint: Option<PathBuf>,
    /// Start anew although the output folder has checkpoints (which are removed); with --resume only where they are of another run
    #[arg(long, alias = "overwrite_output_dir")]
    pub overwrite_output_dir: bool,
    /// Answer evaluation rows at every evaluation, too, and score the answers as evaluate does: token_f1, rougeL, stop_rate, gen_len
    #[arg(long, alias = "predict_with_generate")]
    pub predict_with_generate: bool,
    /// Of how many evaluation rows, chosen by --seed
    #[arg(long, value_name = "N", default_value_t = 32, alias = "gen_rows")]
    pub gen_rows: usize,
    /// Longest of these answers in tokens
    #[arg(long, value_name = "N", default_value_t = 128, aliases = ["generation_max_length", "max-new-tokens", "max_new_tokens"])]
    pub generation_max_length: usize,
    /// What makes an evaluation the best: loss (the lowest), or with --predict-with-generate token_f1, rougeL, stop_rate (the highest)
    #[arg(
        long,
        value_name = "NAME",
        default_value = "loss",
        alias = "metric_for_best_model"
    )]
    pub metric_for_best_model: String,
    /// At the end, take the adapter of the best evaluation instead of the last one
    #[arg(long, alias = "load_best_model_at_end")]
    pub load_best_model_at_end: bool,
    /// Stop when so many evaluations in a row were not better than the best
    #[arg(long, value_name = "N", alias = "early_stopping_patience")]
    pub early_stopping_patience: Option<usize>,
    /// What happens to a step whose loss or gradient is no number: error (the run ends) or skip (it changes nothing, the log says so)
    #[arg(long, value_enum, default_value_t, alias = "on_nan")]
    pub on_nan: OnNanArg,
    /// With --on-nan skip: one more than so many skipped steps in a row end the run
    #[arg(
        long,
        value_name = "N",
        default_value_t = 5,
        alias = "max_skipped_steps"
    )]
    pub max_skipped_steps: usize,
    /// Steps between lines for people; the log file has every step
    #[arg(long, value_name = "N", default_value_t = 10, alias = "logging_steps")]
    pub logging_steps: usize,
    /// Who else is told of steps and evaluations: tensorboard (an event file), or none
    #[arg(long, value_enum, default_value_t, alias = "report_to")]
    pub report_to: ReportTo,
    /// Folder of the event file [default: runs in the output folder]
    #[arg(long, value_name = "DIR", alias = "logging_dir")]
    pub logging_dir: Option<PathBuf>,
    /// Rank [default: 16, or that of --init-adapter]
    #[arg(long, value_name = "N", alias = "lora_r")]
    pub lora_r: Option<usize>,
    /// Numerator of the scale alpha / r [default: 32, or that of --init-adapter]
    #[arg(long, value_name = "X", alias = "lora_alpha")]
    pub lora_alpha: Option<f64>,
    /// Probability of dropping an input feature of the adapter in training
    #[arg(long, value_name = "P", default_value_t = 0.05, alias = "lora_dropout")]
    pub lora_dropout: f64,
    /// Modules to adapt, with commas: projections, embed_tokens, lm_head; all-linear, which is every projection; or a regular expression for whole paths such as model.layers.0.self_attn.q_proj [default: q_proj,k_proj,v_proj,o_proj, or those of --init-adapter]
    #[arg(long, value_name = "LIST", alias = "target_modules")]
    pub target_modules: Option<TargetModules>,
    /// Of those, the ones to leave out: ends of paths, with commas, or a regular expression
    #[arg(long, value_name = "LIST", alias = "exclude_modules")]
    pub exclude_modules: Option<Modules>,
    /// Layers to adapt, from 0, with commas [default: all]
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        alias = "layers_to_transform"
    )]
    pub layers_to_transform: Option<Vec<usize>>,
    /// Another rank for modules whose path ends in what the expression matches, as q_proj=4; the first that matches counts
    #[arg(long, value_name = "REGEX=N", value_parser = pair::<usize>, alias = "rank_pattern")]
    pub rank_pattern: Vec<(String, usize)>,
    /// Another alpha, likewise
    #[arg(long, value_name = "REGEX=X", value_parser = pair::<f64>, alias = "alpha_pattern")]
    pub alpha_pattern: Vec<(String, f64)>,
    /// Scale by alpha / sqrt(r) instead of alpha / r
    #[arg(long, alias = "use_rslora")]
    pub rslora: bool,
    /// DoRA: train the size of every adapted weight's rows too (slower; llama.cpp cannot read such adapters, merge them)
    #[arg(long, aliases = ["use_dora", "dora"])]
    pub use_dora: bool,
    /// How the new adapter starts: true (A random, B zero), gaussian, orthogonal, pissa (with the largest singular values of each weight), pissa_niter_N (the same, fast), olora (with its QR decomposition). After the last three the base lacks what the adapter starts with; what is saved is a plain adapter of twice the rank for the base as it was
    #[arg(long, value_name = "HOW", default_value_t, alias = "init_lora_weights")]
    pub init_lora_weights: InitLoraWeights,
    /// Which biases of the base learn: none, all or lora_only. It has none, so all three are the same; the word is kept in the adapter's config
    #[arg(long, value_name = "WHICH", default_value = "none", value_parser = bias)]
    pub bias: Bias,
    /// NEFTune: while training, add uniform noise of up to X / sqrt(tokens of the row * columns) to the embeddings; 5 is usual
    #[arg(long, value_name = "X", alias = "neftune_noise_alpha")]
    pub neftune_noise_alpha: Option<f64>,
    /// Start from this adapter; r, alpha and targets must agree with it
    #[arg(long, value_name = "DIR", aliases = ["init_adapter", "adapter-dir", "adapter_dir"])]
    pub init_adapter: Option<PathBuf>,
    /// Keep the rows in the order of the file
    #[arg(long, alias = "no_shuffle")]
    pub no_shuffle: bool,
    /// Seed of the initial adapter, the order of rows, dropout and noise
    #[arg(long, value_name = "S", default_value_t = 42)]
    pub seed: u64,
    /// What products with the frozen weights are computed in, summed in f32; all else is f32
    #[arg(long, value_enum, default_value_t)]
    pub dtype: Precision,
    /// Train beside quantised weights (QLoRA): stored keeps a quantised GGUF file's blocks as they are, which f32 does anyway (with bf16 a fifth less memory, a tenth slower); q8_0 quantises at load. For the packed engine
    #[arg(long, value_enum, value_name = "TYPE")]
    pub quantize: Option<QuantizeArg>,
    /// What computes loss and gradients: packed (weights packed for this CPU) or autograd (candle; slower, the reference)
    #[arg(long, value_enum, default_value_t)]
    pub engine: EngineArg,
    /// Where loss and gradients are computed: cpu, cuda (an NVIDIA GPU; cuda:1 is the second), or auto: a GPU where this build knows GPUs (feature cuda), one is there and it can train what is asked for, else the CPU. A GPU needs heads of 64 features and keeps weights as --dtype says; no DoRA, no adapter of embed_tokens or lm_head, no --quantize, packed engine. What --predict-with-generate answers is computed on the CPU
    #[arg(long, value_name = "DEVICE", default_value_t)]
    pub device: DeviceArg,
    /// What is kept for the backward pass: none (no checkpointing: all that it needs) or block (the input of each block; less memory, slower), or auto: none where it is predicted to fit. For the packed engine
    #[arg(long, value_enum, default_value_t, alias = "gradient-checkpointing")]
    pub checkpointing: KeepArg,
    /// What happens to a row that is too long
    #[arg(long, value_enum, default_value_t, alias = "on_truncate")]
    pub on_truncate: OnTruncate,
    /// Which rows go through the model together: shuffled, bucketed (of about the same length) or packed (as many as fit into --pack-tokens; --bs is then not used)
    #[arg(long, value_enum, default_value_t)]
    pub batching: BatchingArg,
    /// Tokens in a packed batch [default: --max_seq_len]
    #[arg(long, value_name = "N", alias = "pack_tokens")]
    pub pack_tokens: Option<usize>,
    /// System prompt of every row; recorded, so that generate and chat use the same [default: the template's own]
    #[arg(long, value_name = "TEXT", aliases = ["system-prompt", "system_prompt"])]
    pub system: Option<String>,
    /// Date for templates that write one into the prompt, as YYYY-MM-DD [default: today]
    #[arg(long, value_name = "DATE")]
    pub date: Option<Date>,
    /// Build training rows as the original program does, its defects included
    #[arg(long, value_enum)]
    pub compat: Option<Compat>,
    /// Print what the run would take (steps, tokens, arithmetic, memory, time) and do nothing; exit code 2 if it cannot fit
    #[arg(long, alias = "dry_run")]
    pub dry_run: bool,
    /// With --dry-run: load and measure nothing, and say nothing of the time
    #[arg(long, alias = "no_probe")]
    pub no_probe: bool,
    /// Memory that may be used (on a GPU: of its own), such as 6GB; a run that is predicted to need more does not start [default: what is available]
    #[arg(long, value_name = "SIZE", alias = "memory_limit")]
    pub memory_limit: Option<Bytes>,
    /// Print the outcome as one JSON object
    #[arg(long)]
    pub json: bool,
}

fn bias(word: &str) -> Result<Bias, &'static str> {
    Bias::from_name(word).ok_or("expected none, all or lora_only")
}

/// `REGEX=VALUE`, cut at the last `=`.
fn pair<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<(String, T), String> {
    let (pattern, value) = text
        .rsplit_once('=')
        .ok_or_else(|| "expected REGEX=NUMBER, such as q_proj=4".to_owned())?;
    let value = value.trim().parse();
    let value = value.map_err(|e| format!("the number after `=`: {e}"))?;
    Ok((pattern.to_owned(), value))
}

impl Args {
    /// The model to load. `--base_model` alone names the model, too.
    pub(crate) fn model(&self) -> ModelSpec {
        let named = self.model_name.as_deref().or(self.base_model.as_deref());
        ModelSpec {
            base_model: self.model_name.as_ref().and(self.base_model.clone()),
            revision: self.revision.clone(),
            dtype: self.dtype.dtype(),
            ..ModelSpec::new(named.unwrap_or(loader::DEFAULT_MODEL))
        }
    }

    /// What the trainer needs to know.
    pub(crate) fn train_config(&self) -> TrainConfig {
        TrainConfig {
            epochs: self.epochs,
            max_steps: self.max_steps,
            batch_size: self.bs,
            accumulation: self.ga,
            learning_rate: self.lr,
            schedule: self.lr_schedule,
            warmup_ratio: self.warmup_ratio,
            warmup_steps: self.warmup_steps,
            decay_steps: self.decay_steps,
            loraplus_lr_ratio: self.loraplus_lr_ratio,
            loraplus_lr_embedding: self.loraplus_lr_embedding,
            neftune_noise_alpha: self.neftune_noise_alpha,
            optim: self.optim.optim(),
            weight_decay: self.weight_decay,
            max_grad_norm: self.max_grad_norm,
            ema_decay: self.ema_decay,
            batching: match self.batching {
                BatchingArg::Shuffled => Batching::Shuffled,
                BatchingArg::Bucketed => Batching::Bucketed,
                BatchingArg::Packed => Batching::Packed {
                    max_tokens: self.pack_tokens.unwrap_or(self.max_seq_len),
                },
            },
            shuffle: !self.no_shuffle,
            seed: self.seed,
            eval_steps: Some(self.eval_steps),
            save_steps: self.save_steps,
            metric_for_best_model: self.metric_for_best_model.clone(),
            load_best_model_at_end: self.load_best_model_at_end,
            on_nan: match self.on_nan {
                OnNanArg::Error => OnNan::Error,
                OnNanArg::Skip => OnNan::Skip {
                    in_a_row: self.max_skipped_steps,
                },
            },
            early_stopping_patience: self.early_stopping_patience,
        }
    }

    /// Where the event file goes.
    pub(crate) fn logging_dir(&self) -> PathBuf {
        let default = || self.output_dir.join("runs");
        self.logging_dir.clone().unwrap_or_else(default)
    }

    /// The evaluation rows' file, if there is one: a default that was not typed may be missing.
    pub(crate) fn eval_file(&self) -> Option<PathBuf> {
        if self.no_eval {
            return None;
        }
        let default = || DEFAULT_EVAL.map(PathBuf::from).into_iter();
        self.eval_csv
            .clone()
            .or_else(|| default().find(|path| path.exists()))
    }
}
