//! What can go wrong between a model's name and its tokens.

use std::path::{Path, PathBuf};

use candle_core::DType;

/// Everything this crate refuses or fails at.
///
/// Messages say what is wrong, where (file, key or tensor), what was found, what was expected and
/// what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A tensor operation failed.
    #[error("tensor operation failed: {0}")]
    Candle(#[from] candle_core::Error),

    /// A file or folder could not be read.
    #[error("cannot read {}: {source}; check that it exists and is readable", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },

    /// A weight cannot be packed.
    #[error("{}: tensor `{tensor}` cannot be packed: {source}", path.display())]
    Packing {
        /// The weight file, or the folder of shards.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// What does not fit.
        source: cpu_gemm::GemmError,
    },

    /// A device could not compute.
    #[cfg(feature = "kernels")]
    #[error(transparent)]
    Kernel(#[from] crate::cuda::KernelError),

    /// Logits that are no numbers: nothing can be chosen from them.
    #[error(
        "request {index}: the model's logits are not finite; its weights or its adapter hold values that are not finite \
         or too large: get them again, or train with a lower learning rate"
    )]
    NotFinite {
        /// Number of the request.
        index: usize,
    },

    /// The system gives no threads.
    #[error("cannot start {threads} threads: {source}; ask for fewer")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// The system's reason.
        source: std::io::Error,
    },

    /// A GGUF file is damaged or lacks what is needed.
    #[error(transparent)]
    Gguf(#[from] gguf::GgufError),

    /// A model's name is neither a path nor a hub id.
    #[error("`{name}` is no model: {reason}; give a hub id (owner/name), a folder or a .gguf file")]
    Source {
        /// The name as given.
        name: String,
        /// What is wrong with it.
        reason: String,
    },

    /// A hub model could not be had.
    #[error("cannot get model `{id}` (revision {revision}): {reason}; {remedy}")]
    Hub {
        /// The hub id.
        id: String,
        /// The revision asked for.
        revision: String,
        /// What failed.
        reason: String,
        /// What to do.
        remedy: String,
    },

    /// A model folder or file does not hold what a model must.
    #[error("{}: {reason}; {remedy}", path.display())]
    Incomplete {
        /// The folder or file.
        path: PathBuf,
        /// What is missing or malformed.
        reason: String,
        /// What to do.
        remedy: &'static str,
    },

    /// A value of the configuration that cannot be, or that this crate does not implement.
    #[error("{}: `{key}` is {found}, expected {expected}", path.display())]
    Config {
        /// The configuration's file.
        path: PathBuf,
        /// The key.
        key: String,
        /// The value found.
        found: String,
        /// What would be right.
        expected: String,
    },

    /// A weight file is truncated or malformed.
    #[error("{}: the file is damaged or truncated ({reason}); get it again", path.display())]
    Damaged {
        /// The weight file.
        path: PathBuf,
        /// What was seen.
        reason: String,
    },

    /// A tensor that the model needs is not in its weights.
    #[error(
        "{}: tensor `{tensor}` is missing; the weights belong to another architecture, or a shard \
         or part of the file was lost: get the model again", path.display()
    )]
    MissingTensor {
        /// The weight file, or the folder of shards.
        path: PathBuf,
        /// The tensor's name in that file.
        tensor: String,
    },

    /// A tensor has another shape than the configuration says.
    #[error(
        "{}: tensor `{tensor}` has shape {found:?}, expected {expected:?} by the configuration; \
         weights and configuration belong to different models", path.display()
    )]
    TensorShape {
        /// The weight file.
        path: PathBuf,
        /// The tensor's name in that file.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape the configuration implies.
        expected: Vec<usize>,
    },

    /// A tensor is stored in a type that cannot be turned into floats here.
    #[error(
        "{}: tensor `{tensor}` is stored as {found}, expected one of {expected}; convert the \
         model to one of these", path.display()
    )]
    TensorType {
        /// The weight file.
        path: PathBuf,
        /// The tensor's name in that file.
        tensor: String,
        /// The type it is stored in.
        found: String,
        /// The types that are read.
        expected: String,
    },

    /// Weights were asked for in a type that they are not kept in.
    #[error("weights can be loaded as F32 or BF16, not as {found:?}")]
    LoadType {
        /// The type asked for.
        found: DType,
    },

    /// A sequence without tokens.
    #[error("sequence {index} is empty; every sequence needs at least one token")]
    EmptySequence {
        /// Its position in the batch, from 0.
        index: usize,
    },

    /// A token id outside the vocabulary.
    #[error(
        "sequence {index} holds token id {id}, but the vocabulary ends at {}; the tokenizer \
         belongs to another model", vocab_size.saturating_sub(1)
    )]
    TokenId {
        /// The sequence's position in the batch, from 0.
        index: usize,
        /// The id.
        id: u32,
        /// Size of the vocabulary.
        vocab_size: usize,
    },

    /// A sequence longer than the positions the model was made for.
    #[error(
        "sequence {index} takes {found} tokens, the model has {limit} positions; shorten the \
         prompt or ask for fewer new tokens"
    )]
    TooLong {
        /// The sequence's position in the batch, from 0.
        index: usize,
        /// Tokens it takes, those to be generated included.
        found: usize,
        /// `max_position_embeddings`.
        limit: usize,
    },

    /// An argument of a call that makes no sense.
    #[error("{what} is {found}, expected {expected}")]
    Argument {
        /// The argument.
        what: &'static str,
        /// Its value.
        found: String,
        /// What would be right.
        expected: String,
    },
}

impl ModelError {
    /// Wraps a failure to read `path`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io {
            path: path.to_path_buf(),
            source,
        }
    }
}
