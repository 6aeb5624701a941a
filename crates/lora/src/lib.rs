//! LoRA adapters in PEFT's format, and a trainer that keeps the base frozen.
//!
//! LoRA (Hu et al. 2021) leaves a weight `W` alone and learns a low-rank update beside it:
//! `y = W x + scale * B A x`, with `A` `[r, in]` and `B` `[out, r]`; DoRA (Liu et al. 2024) also
//! trains the size of each row of what comes of `W`. This crate holds three decisions about it.
//!
//! **PEFT's files are the format.** An [`Adapter`] is a folder with `adapter_config.json` and
//! `adapter_model.safetensors`, named and shaped as PEFT does, so that PEFT, vLLM and llama.cpp's
//! converter read ours and we read theirs. Reading is strict. A setting that would change the
//! arithmetic and that we do not have is an error with the field's name, a tensor too many or too few
//! is an error with the tensor's name: a wrong adapter gives fluent wrong answers, which nobody
//! notices.
//!
//! **An update is a function of its rows, not of how they were cut.** The loss of an update is the
//! sum of negative log-likelihoods divided by the number of supervised tokens of its whole
//! accumulation window, so one batch of four equals four batches of one. Rows are packed, never
//! padded. Every random number is addressed by what it is for (seed and tensor name; seed, step and
//! micro-batch), every sum that leaves the device is taken in one order in f64: the same seed gives
//! the same bytes, with one thread or many.
//!
//! **The base gets no gradient.** The frozen operations live in `smollm-model`; here only the
//! variables of a [`Trainable`] exist for the optimiser, and a variable that a backward pass does
//! not reach is an error instead of a tensor that silently never learns.
//!
//! [`train()`] is the loop, readable in one sitting; it prints nothing and writes nothing, but tells
//! a callback, which may stop it.
//!
//! ```
//! use lora::{Adapter, LoraConfig};
//! use lora::smollm_model::ModelConfig;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let model = ModelConfig {
//!     hidden_size: 64, intermediate_size: 96, num_hidden_layers: 2, num_attention_heads: 2,
//!     num_key_value_heads: 1, head_dim: 32, vocab_size: 100, max_position_embeddings: 128,
//!     rms_norm_eps: 1e-5, rope_theta: 10_000.0, tie_word_embeddings: true,
//!     bos_token_id: Some(1), eos_token_ids: vec![2], pad_token_id: None,
//! };
//! let config = LoraConfig { r: 4, target_modules: "q_proj,v_proj".parse()?, ..LoraConfig::default() };
//! let adapter = Adapter::init(&model, config, 42)?;
//!
//! let folder = std::env::temp_dir().join("lora-crate-example");
//! adapter.save(&folder)?; // PeftModel.from_pretrained(base, folder) reads this
//! let again = Adapter::load(&folder)?;
//! again.check(&model)?;
//! assert_eq!(again.parameters(), 2 * (4 * (64 + 64) + 4 * (64 + 32)));
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod adapter;
mod average;
mod checkpoint;
mod combine;
mod config;
mod delta;
mod engine;
mod error;
mod evaluation;
mod events;
mod features;
mod files;
#[cfg(test)]
mod golden_tests;
mod gradients;
mod init;
mod inject;
mod matrix;
mod mlx;
mod modules;
mod names;
mod optim;
mod plan;
mod portable;
mod record;
mod residual;
mod rng;
mod sample;
mod saved_base;
mod schedule;
mod settings;
mod state;
mod target;
mod train;
mod trainable;
mod workload;

pub use adapter::{Adapter, Pair};
pub use chat_prompt::Batching;
pub use checkpoint::{Checkpoint, CheckpointFolder, OPTIMIZER_FILE, STATE_FILE};
pub use combine::Combination;
pub use config::{Bias, CONFIG_FILE, LoraConfig, Shape};
pub use engine::Engine;
pub use error::{CheckpointError, LoraError, TrainError};
pub use evaluation::{Evaluation, Measures, Scorer, evaluate};
pub use events::{EvalRecord, SkipRecord, StepRecord, TrainEvent, TrainOutcome};
pub use files::WEIGHTS_FILE;
pub use init::InitLoraWeights;
pub use inject::{Merged, detach};
pub use mlx::MLX_WEIGHTS_FILE;
pub use modules::{Modules, Overrides};
pub use names::Factor;
pub use optim::{
    AdafactorConfig, AdamWConfig, Buffer, LionConfig, Moments, MuonConfig, Optim, Optimizer,
    SgdConfig,
};
pub use record::{Settings, VERSION, fingerprint};
pub use residual::Residual;
pub use sample::Sample;
pub use schedule::{LearningRate, Schedule};
pub use settings::{OnNan, TrainConfig};
/// The model that an adapter changes.
pub use smollm_model;
pub use smollm_model::Site;
pub use state::{Best, Progress, Snapshot, TrainState};
pub use target::TargetModules;
pub use train::{planned_steps, train, train_from};
pub use trainable::Trainable;
pub use workload::{Load, Workload};
