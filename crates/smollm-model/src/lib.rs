//! SmolLM2 (Llama architecture): weights, differentiable forward, ragged batches, generation.

mod checkpoint;
mod config;
mod error;
mod generation;
mod linear;
mod model;
pub mod ops;
mod ragged;
mod simd;
mod source;

pub use checkpoint::{Checkpoint, LM_HEAD, tensor_shapes};
pub use config::ModelConfig;
pub use error::ModelError;
pub use generation::{Completion, FinishReason, GenerationConfig, GenerationEvent, generate};
pub use linear::{Linear, LowRank, Projection};
pub use model::{KvCache, Llama, Mode};
pub use ragged::Ragged;
pub use source::{DEFAULT_REVISION, HubOptions, ModelFiles, ModelSource};
