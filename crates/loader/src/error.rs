//! Why a model could not be had.

use std::path::PathBuf;

use stage::StageError;

/// Everything that can go wrong between a name and a model that runs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The model's files.
    #[error(transparent)]
    Model(#[from] smollm_model::ModelError),
    /// Its tokenizer or template.
    #[error(transparent)]
    Prompt(#[from] chat_prompt::PromptError),
    /// The GGUF file it is in.
    #[error(transparent)]
    Gguf(#[from] gguf::GgufError),
    /// The adapter's files.
    #[error("adapter {}: {source}", dir.display())]
    Adapter {
        /// The adapter's folder.
        dir: PathBuf,
        /// What is wrong with it.
        source: Box<lora::LoraError>,
    },
    /// A GPU that was asked for cannot compute this.
    #[error("--device {device}: {reason}; --device cpu computes on the CPU")]
    Device {
        /// What was asked for.
        device: crate::DeviceArg,
        /// What is in the way.
        reason: String,
    },
    /// Names that contradict each other.
    #[error("{0}")]
    Ambiguous(String),
    /// A folder given as an adapter is none.
    #[error(
        "{} is no adapter: it has no adapter_config.json; give the folder that training wrote",
        dir.display()
    )]
    NotAnAdapter {
        /// The folder.
        dir: PathBuf,
    },
    /// An adapter that does not say what it belongs to.
    #[error(
        "the config of adapter {} names no base model (base_model_name_or_path); say it with \
         --base_model", dir.display()
    )]
    NoBase {
        /// The adapter's folder.
        dir: PathBuf,
    },
    /// The base that an adapter names cannot be had.
    #[error(
        "the base model `{name}` that adapter {} names cannot be had: {source}; --base_model says \
         where it is now", dir.display()
    )]
    Base {
        /// The adapter's folder.
        dir: PathBuf,
        /// The name in its config.
        name: String,
        /// What is wrong with it.
        source: Box<smollm_model::ModelError>,
    },
    /// The adapter was made for another model.
    #[error(
        "adapter {} does not fit base model {base}: {source}; give the base it was trained on \
         with --base_model", dir.display()
    )]
    Mismatch {
        /// The adapter's folder.
        dir: PathBuf,
        /// The base model.
        base: String,
        /// The first thing that does not fit.
        source: Box<lora::LoraError>,
    },
    /// The tokenizer was made for another model.
    #[error(
        "the tokenizer of {} has ids up to {}, the model's embedding has {expected} rows; tokenizer \
         and weights belong to different models", path.display(), found.saturating_sub(1)
    )]
    Vocabulary {
        /// The model's folder or file.
        path: PathBuf,
        /// Size of the tokenizer's vocabulary.
        found: usize,
        /// Rows of the embedding.
        expected: usize,
    },
}

impl LoadError {
    /// Whether what was asked for makes no sense, as opposed to what was found.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Ambiguous(_) | Self::NoBase { .. } | Self::Device { .. }
        )
    }
}

impl From<LoadError> for StageError {
    /// Wrong usage (2) where [`LoadError::is_usage`] says so, else bad data (3).
    fn from(error: LoadError) -> Self {
        if error.is_usage() {
            Self::usage(error)
        } else {
            Self::bad_data(error)
        }
    }
}
