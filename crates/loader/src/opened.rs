//! A model whose files are found and known to fit together.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use chat_prompt::{Date, Prompter};
use lora::Adapter;
use smollm_model::{
    Checkpoint, HubOptions, Llama, ModelConfig, ModelError, ModelFiles, ModelSource, Projection,
    TrainingLlama, TrainingOptions,
};

use crate::choose::choose;
use crate::{LoadError, ModelSpec};

/// Files found and checked, weights not yet read.
#[derive(Debug)]
pub struct Opened {
    checkpoint: Checkpoint,
    files: ModelFiles,
    prompter: Prompter,
    adapter: Option<(PathBuf, Adapter)>,
    base_name: String,
    revision: Option<String>,
    description: String,
}

/// A model that runs.
#[derive(Debug)]
pub struct Loaded {
    /// The model, with the adapter attached if there is one.
    pub model: Llama,
    /// Its template and tokenizer.
    pub prompter: Prompter,
    /// The adapter, if any.
    pub adapter: Option<Adapter>,
    /// What it is, for manifests: the base with its revision and commit, or its path.
    pub description: String,
    /// The base model as it was named; what an adapter trained on it should say.
    pub base_name: String,
}

impl Opened {
    pub(crate) fn new(spec: &ModelSpec) -> Result<Self, LoadError> {
        let choice = choose(spec)?;
        let hub = HubOptions {
            progress: true,
            ..HubOptions::from_env()
        };
        let found = ModelSource::parse(&choice.base)
            .map(|source| source.at_revision(choice.revision.as_deref()))
            .and_then(|source| Ok((source.resolve_with(&hub)?, source)));
        let (files, source) = found.map_err(|source| match &choice.adapter {
            Some((dir, _)) if choice.named_by_adapter => LoadError::Base {
                dir: dir.clone(),
                name: choice.base.clone(),
                source: Box::new(source),
            },
            _ => LoadError::Model(source),
        })?;
        let checkpoint = Checkpoint::open(&files)?;
        if let Some((dir, adapter)) = &choice.adapter {
            let fits = adapter.check(checkpoint.config());
            fits.and_then(|()| adapter.check_base(&checkpoint))
                .map_err(|source| LoadError::Mismatch {
                    dir: dir.clone(),
                    base: choice.base.clone(),
                    source: Box::new(source),
                })?;
        }
        let prompter = prompter(&files)?;
        let (found, expected) = (prompter.vocab_size(), checkpoint.config().vocab_size);
        if found > expected {
            return Err(LoadError::Vocabulary {
                path: files.path().into(),
                found,
                expected,
            });
        }
        Ok(Self {
            description: describe(&source, &files),
            checkpoint,
            files,
            prompter,
            adapter: choice.adapter,
            base_name: choice.base,
            revision: choice.revision,
        })
    }

    pub(crate) fn base(spec: &ModelSpec) -> Result<Self, LoadError> {
        Ok(Self {
            adapter: None,
            ..Self::new(spec)?
        })
    }

    /// The base model's configuration.
    pub fn config(&self) -> &ModelConfig {
        self.checkpoint.config()
    }

    /// The base model's weights.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The base model's weights, to have something taken out of them.
    pub fn checkpoint_mut(&mut self) -> &mut Checkpoint {
        &mut self.checkpoint
    }

    /// The base model's folder or file.
    pub fn files(&self) -> &ModelFiles {
        &self.files
    }

    /// Template and tokenizer.
    pub fn prompter(&self) -> &Prompter {
        &self.prompter
    }

    /// The same with a system prompt that every prompt and training row begins with; none leaves the
    /// template's own.
    #[must_use]
    pub fn with_system(mut self, system: Option<String>) -> Self {
        self.prompter = self.prompter.with_system(system);
        self
    }

    /// The same with a fixed date for templates that write one; none is today.
    #[must_use]
    pub fn with_date(mut self, date: Option<Date>) -> Self {
        self.prompter = self.prompter.with_date(date);
        self
    }

    /// The base model's revision, as it was asked for or as the adapter that named the base has it.
    pub fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }

    /// The adapter's folder and the adapter, if there is one.
    pub fn adapter(&self) -> Option<(&Path, &Adapter)> {
        self.adapter
            .as_ref()
            .map(|(dir, adapter)| (dir.as_path(), adapter))
    }

    /// See [`Loaded::description`].
    pub fn description(&self) -> &str {
        &self.description
    }

    /// See [`Loaded::base_name`].
    pub fn base_name(&self) -> &str {
        &self.base_name
    }

    /// Every file that what the model computes depends on, tokenizer and template aside: weights,
    /// configuration, adapter. Sorted; for manifests.
    ///
    /// # Errors
    /// If the model's folder cannot be listed.
    pub fn weight_files(&self) -> Result<Vec<PathBuf>, LoadError> {
        let mut all = match &self.files {
            ModelFiles::Gguf(path) => vec![path.clone()],
            ModelFiles::Dir(dir) => weights_in(dir).map_err(|source| ModelError::Io {
                path: dir.clone(),
                source,
            })?,
        };
        if let Some((dir, _)) = &self.adapter {
            all.extend([lora::CONFIG_FILE, lora::WEIGHTS_FILE].map(|name| dir.join(name)));
        }
        Ok(all)
    }

    /// Bytes of memory that the base model's weights take in training, once something is taken out of the weights `changed`.
    ///
    /// # Errors
    /// If the type is neither F32 nor BF16.
    pub fn training_weight_bytes(
        &self,
        options: TrainingOptions,
        changed: &[(usize, Projection)],
    ) -> Result<usize, LoadError> {
        let bytes = TrainingLlama::weight_bytes(&self.checkpoint, options, changed)?;
        Ok(bytes)
    }

    /// Packs the base model's weights for training; adapters are given with each call.
    ///
    /// # Errors
    /// If a weight cannot be read or packed, or the type is neither F32 nor BF16.
    pub fn load_for_training(&self, options: TrainingOptions) -> Result<TrainingLlama, LoadError> {
        Ok(TrainingLlama::load(&self.checkpoint, options)?)
    }

    /// Reads the weights and attaches the adapter.
    ///
    /// # Errors
    /// If a weight cannot be read, or `dtype` is neither F32 nor BF16.
    pub fn load(self, dtype: DType) -> Result<Loaded, LoadError> {
        let mut model = Llama::load(&self.checkpoint, dtype, &Device::Cpu)?;
        let adapter = match self.adapter {
            None => None,
            Some((dir, adapter)) => {
                let fits = adapter.attach(&mut model);
                fits.map_err(|source| LoadError::Adapter {
                    dir,
                    source: Box::new(source),
                })?;
                Some(adapter)
            }
        };
        Ok(Loaded {
            model,
            prompter: self.prompter,
            adapter,
            description: self.description,
            base_name: self.base_name,
        })
    }
}

fn prompter(files: &ModelFiles) -> Result<Prompter, LoadError> {
    Ok(match files {
        ModelFiles::Dir(dir) => Prompter::from_dir(dir)?,
        ModelFiles::Gguf(path) => Prompter::from_gguf(&gguf::GgufFile::open(path)?)?,
    })
}

/// The name, and for a hub model the commit that its snapshot folder is named after.
fn describe(source: &ModelSource, files: &ModelFiles) -> String {
    match (
        source,
        files.path().file_name().and_then(|name| name.to_str()),
    ) {
        (ModelSource::Hub { .. }, Some(commit)) => format!("{source} (commit {commit})"),
        _ => source.to_string(),
    }
}

fn weights_in(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let of_weights =
            name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json");
        if of_weights || name == "config.json" || name == "generation_config.json" {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
