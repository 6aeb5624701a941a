//! A model from its name: weights, tokenizer, chat template and adapter that belong together.
//!
//! Every stage that runs a model has to answer the same questions. Is this name a hub id, a folder,
//! a GGUF file, or an adapter? Which base does the adapter want? Do tokenizer, weights and adapter
//! belong to each other? The decision this crate embodies: *they are answered once, before any
//! weight is read*. [`open`] finds the files, reads the headers and checks that everything fits, in
//! milliseconds; [`Opened::load`] then spends the time and the memory.
//!
//! | `model_name` is | base | adapter |
//! |---|---|---|
//! | a hub id, folder or `.gguf` file | that | `adapter_dir`, if given |
//! | an adapter folder | `base_model`, else the one its config names | that |
//!
//! ```
//! use loader::{ModelSpec, open};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
//! let opened = open(&ModelSpec::new(&format!("{root}/fixtures/tiny-model")))?;
//! assert_eq!(opened.config().num_hidden_layers, 2);
//!
//! let loaded = opened.load(loader::DType::F32)?;
//! let prompt = loaded.prompter.generation_prompt("Name a bird.", None, None)?;
//! let settings = smollm_model::GenerationConfig { max_new_tokens: 4, ..Default::default() };
//! let answers = smollm_model::generate(&loaded.model, &[prompt.ids], &settings, &mut |_| {
//!     std::ops::ControlFlow::Continue(())
//! })?;
//! assert_eq!(answers.len(), 1);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod choose;
mod device;
mod error;
mod inference;
mod model;
mod model_args;
mod opened;
mod stop;
mod variants;

use std::path::{Path, PathBuf};

pub use candle_core::{DType, Tensor};
pub use device::{Card, DeviceArg};
pub use error::LoadError;
pub use inference::{InferenceArgs, KvPrecision, Precision, Quantization};
pub use lora::{Adapter, detach};
pub use model::{Model, ModelCache};
pub use model_args::ModelArgs;
pub use opened::{Loaded, Opened};
/// Runs what was loaded.
pub use smollm_model;
pub use stop::{END_OF_TEXT, END_OF_TURN, stop_ids};
pub use variants::{pack, variant_names};

/// The model that stages take when none is named.
pub const DEFAULT_MODEL: &str = "HuggingFaceTB/SmolLM2-135M-Instruct";

/// What a user asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSpec {
    /// Hub id (`owner/name`, `owner/name@revision`), folder, `.gguf` file, or adapter folder.
    pub model_name: String,
    /// The base model, in place of the one that an adapter's config names.
    pub base_model: Option<String>,
    /// An adapter for `model_name`.
    pub adapter_dir: Option<PathBuf>,
    /// Revision of a hub model: branch, tag or commit.
    pub revision: Option<String>,
    /// How the weights are kept: F32 or BF16.
    pub dtype: DType,
}

impl ModelSpec {
    /// `model_name` alone, in F32.
    pub fn new(model_name: &str) -> Self {
        Self {
            model_name: model_name.to_owned(),
            base_model: None,
            adapter_dir: None,
            revision: None,
            dtype: DType::F32,
        }
    }
}

/// Finds, checks and loads what `spec` asks for: [`open`] and [`Opened::load`] in one call.
///
/// # Errors
/// As these two.
pub fn load(spec: &ModelSpec) -> Result<Loaded, LoadError> {
    open(spec)?.load(spec.dtype)
}

/// Finds the files that `spec` asks for (downloading from the hub what is not in its cache, with a
/// progress bar where standard error is a terminal) and checks that they belong together. Reads
/// headers, tokenizer and adapter, but no weights of the base model.
///
/// # Errors
/// If the names contradict each other, a file is missing or damaged, or base, tokenizer and
/// adapter do not fit.
pub fn open(spec: &ModelSpec) -> Result<Opened, LoadError> {
    Opened::new(spec)
}

/// [`open`], without the adapter: the base model that `spec` leads to.
///
/// # Errors
/// As [`open`].
pub fn open_base(spec: &ModelSpec) -> Result<Opened, LoadError> {
    Opened::base(spec)
}

/// Whether `path` is an adapter: a folder with an `adapter_config.json`.
pub fn is_adapter(path: &Path) -> bool {
    path.join(lora::CONFIG_FILE).is_file()
}
