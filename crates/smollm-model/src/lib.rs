//! SmolLM2 (Llama architecture) for training adapters and for generating with them.
//!
//! # Why this crate exists
//!
//! candle has a readable Llama, but it cannot be trained: its fused norms, softmax and rotary
//! embeddings have no backward pass, and the gradient is cut without an error. It cannot express a
//! batch of sequences of different lengths either. So the model is owned here, with candle as the
//! tensor library and its Llama as an oracle in the tests.
//!
//! Four decisions shape everything:
//!
//! - **Rows of tokens, no padding.** A batch is a [`Ragged`]: sequences one after the other, hidden
//!   states `[tokens, hidden]`, attention within each sequence's range. No FLOP is spent on pad
//!   tokens, and training, prefill and decoding are the same code.
//! - **One order of summation.** Every product adds its terms in an order that depends on the row
//!   alone ([`ops`]), so a row's result has the same bits alone, in any batch, from a cache, and for
//!   any number of threads.
//! - **Frozen means frozen.** Base weights are no arguments of the differentiable ops: no gradient of
//!   them is ever formed. What can be trained is a [`LowRank`] update beside a [`Linear`]; its policy
//!   (which layers, how initialised, which file format) belongs to the crate that attaches it.
//! - **Logits where they are needed.** `lm_head` runs on the last token of a prompt, or on supervised
//!   positions in chunks; `[tokens, vocab]` never exists.
//!
//! Weights come from a hub id, a folder of safetensors or a GGUF file (dequantised), stored as f32 or
//! bf16; arithmetic and activations are f32.
//!
//! # Example
//!
//! ```
//! use std::ops::ControlFlow;
//! use smollm_model::{Checkpoint, DType, Device, GenerationConfig, Llama, ModelSource, generate};
//!
//! # std::env::set_current_dir("../..")?;
//! let files = ModelSource::parse("fixtures/tiny-model")?.resolve()?;
//! let model = Llama::load(&Checkpoint::open(&files)?, DType::F32, &Device::Cpu)?;
//! let prompts = vec![vec![1, 327, 201], vec![260, 28]];
//! let config = GenerationConfig { max_new_tokens: 8, ..GenerationConfig::default() };
//! let answers = generate(&model, &prompts, &config, &mut |_event| ControlFlow::Continue(()))?;
//! assert_eq!(answers.len(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod buffer;
mod checkpoint;
mod config;
#[cfg(feature = "kernels")]
pub mod cuda;
mod engine;
mod error;
mod generation;
mod linear;
mod model;
mod noise;
pub mod ops;
mod packed;
mod ragged;
mod sampling;
mod simd;
mod site;
mod source;
mod text_file;
mod training;

// The tensor types that this crate's functions take and give, so that a user needs no candle of the
// same version beside it.
pub use candle_core::{DType, Device, Tensor};

pub use checkpoint::{Checkpoint, check_safetensors, to_gguf};
pub use config::ModelConfig;
pub use engine::{
    Completion, Decoder, Engine, EngineLimits, Event, FinishReason, Phase, Request, Sampling,
    Segment,
};
pub use error::ModelError;
pub use generation::{GenerationConfig, GenerationEvent, generate};
pub use linear::{Linear, LowRank, Projection};
pub use model::{KvCache, Llama, Mode};
pub use noise::EmbeddingNoise;
pub use packed::{KvType, PackedCache, PackedLlama, PackedOptions, WeightFormat};
pub use ragged::Ragged;
pub use site::{Module, Site};
pub use source::{DEFAULT_REVISION, HubOptions, ModelFiles, ModelSource};
pub use training::{
    BatchShape, Checkpointing, SiteGradients, SiteShape, TrainingBatch, TrainingCost,
    TrainingLlama, TrainingMemory, TrainingModel, TrainingOptions, TrainingSite,
};
