//! A model's weights by name, whatever file they lie in.
//!
//! Two containers, one view: tensors have Hugging Face names and Hugging Face layout (`[out, in]`,
//! rotate-half order of q and k rows), read one at a time from a memory map, so that a model is
//! never in memory twice. Opening checks that every tensor the configuration implies is there with
//! its shape and in a readable type: a wrong file is refused before any work is spent on it.

mod gguf_weights;
mod layout;
mod safetensors_header;
mod shards;
mod subtracted;
mod to_gguf;

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Tensor};
use cpu_gemm::{Format, PackedMatrix};

use crate::ops::View;
use crate::source::ModelFiles;
use crate::{LowRank, ModelConfig, ModelError, Projection, Site, WeightFormat};
use gguf_weights::GgufWeights;
use shards::Shards;
use subtracted::Subtracted;

use layout::{LM_HEAD, tensor_shapes};
pub use safetensors_header::check_safetensors;
pub(crate) use shards::{INDEX, SINGLE, index_files};
pub use to_gguf::to_gguf;

/// An open model: its configuration and its tensors, loaded when asked for.
#[derive(Debug)]
pub struct Checkpoint {
    config: ModelConfig,
    weights: Weights,
    /// By tensor name.
    subtracted: BTreeMap<String, Subtracted>,
}

#[derive(Debug)]
enum Weights {
    Shards(Shards),
    Gguf(GgufWeights),
}

impl Checkpoint {
    /// Opens a model folder or GGUF file and checks names, shapes and types of its tensors.
    ///
    /// A checkpoint without an output projection ties it to the embedding, whatever its
    /// configuration says; one that says it is tied does not use an output projection it may hold.
    ///
    /// # Errors
    /// If a file is missing, truncated or malformed, or if weights and configuration contradict
    /// each other: a tensor that is missing, has another shape, or an unreadable type.
    pub fn open(files: &ModelFiles) -> Result<Self, ModelError> {
        let (mut config, weights) = match files {
            ModelFiles::Dir(dir) => {
                let config = ModelConfig::from_dir(dir)?;
                (config, Weights::Shards(Shards::open(dir)?))
            }
            ModelFiles::Gguf(path) => {
                let file = gguf::GgufFile::open(path)?;
                let config = ModelConfig::from_gguf(&file)?;
                let weights = Weights::Gguf(GgufWeights::new(file, path, &config));
                (config, weights)
            }
        };
        if !weights.contains(LM_HEAD) {
            config.tie_word_embeddings = true;
        }
        for (name, shape) in tensor_shapes(&config) {
            weights.check(&name, &shape)?;
        }
        Ok(Self {
            config,
            weights,
            subtracted: BTreeMap::new(),
        })
    }

    /// Takes `scale · B A` out of a projection's weight: from now on it is read as `W − scale · B A`, formed in f32 and
    /// rounded once. The file stays as it is; an update of the same weight that was taken out before no longer counts.
    ///
    /// This is what adapters need that start with a part of the base (`PiSSA`, `OLoRA`).
    ///
    /// # Errors
    /// If the update does not have the weight's shape, or there is no such layer.
    pub fn subtract(
        &mut self,
        layer: usize,
        projection: Projection,
        update: &LowRank,
    ) -> Result<(), ModelError> {
        let layers = self.config.num_hidden_layers;
        if layer >= layers {
            return Err(ModelError::Argument {
                what: "the layer of an update to take out",
                found: layer.to_string(),
                expected: format!("below {layers}"),
            });
        }
        let name = projection.tensor_name(layer);
        let update = Subtracted::new(&name, projection.dims(&self.config), update)?;
        self.subtracted.insert(name, update);
        Ok(())
    }

    /// Whether a tensor is stored in blocks, as approximations of what it was made of.
    pub fn is_quantised(&self, name: &str) -> bool {
        let stored = self.packed_format(name, WeightFormat::Stored);
        !matches!(stored, Format::F32 | Format::Bf16)
    }

    /// Where the weight of a site is read from: that of a head that is tied to the embedding, from there.
    pub fn weight_of(&self, site: Site) -> Site {
        match site {
            Site::Head if self.config.tie_word_embeddings => Site::Embedding,
            site => site,
        }
    }

    /// The configuration, with `tie_word_embeddings` as the weights have it.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The file, or the folder of files, that the weights lie in.
    pub fn path(&self) -> &Path {
        match &self.weights {
            Weights::Shards(shards) => shards.dir(),
            Weights::Gguf(file) => file.path(),
        }
    }

    /// Hugging Face names of the tensors in the files, sorted; some may not belong to the model.
    pub fn names(&self) -> Vec<String> {
        match &self.weights {
            Weights::Shards(shards) => shards.names(),
            Weights::Gguf(file) => file.names(),
        }
    }

    /// Loads one tensor into memory.
    ///
    /// # Shapes
    /// As in `config.json`'s world: `[out, in]` for a projection, `[vocab, hidden]` for the
    /// embedding, `[hidden]` for a norm. `dtype` is F32 or BF16; narrowing rounds to nearest even.
    ///
    /// # Errors
    /// If there is no such tensor, its shape is not `shape`, it cannot be read, or `dtype` is
    /// neither F32 nor BF16.
    pub fn tensor(&self, name: &str, shape: &[usize], dtype: DType) -> Result<Tensor, ModelError> {
        if !matches!(dtype, DType::F32 | DType::BF16) {
            return Err(ModelError::LoadType { found: dtype });
        }
        self.weights.check(name, shape)?;
        let tensor = match &self.weights {
            Weights::Shards(shards) => shards.load(name)?,
            Weights::Gguf(file) => file.load(name)?,
        };
        let tensor = match self.subtracted.get(name) {
            Some(update) => update.from(&tensor)?,
            None => tensor,
        };
        Ok(tensor.to_dtype(dtype)?)
    }
}

impl Checkpoint {
    /// What [`Checkpoint::packed`] makes of a tensor.
    pub(crate) fn packed_format(&self, name: &str, format: WeightFormat) -> Format {
        match format {
            WeightFormat::F32 => Format::F32,
            WeightFormat::Bf16 => Format::Bf16,
            WeightFormat::Q8_0 => Format::Q8_0,
            WeightFormat::Stored => match &self.weights {
                Weights::Shards(shards) => shards.packed_format(name),
                Weights::Gguf(file) => file.packed_format(name),
            },
        }
    }

    /// Packs the weight `[n, k]` of this name for inference.
    ///
    /// # Errors
    /// As [`Checkpoint::tensor`]; also if `k` is no multiple of 32 and the weight is to be quantised.
    pub(crate) fn packed(
        &self,
        name: &str,
        n: usize,
        k: usize,
        format: WeightFormat,
    ) -> Result<PackedMatrix, ModelError> {
        self.packed_as(name, n, k, self.packed_format(name, format))
    }

    /// How a weight is kept for training: where `kept` is [`WeightFormat::Stored`], what is stored if that can be packed
    /// without changing a value and is smaller than `float`, and nothing is taken out of it.
    pub(crate) fn training_format(&self, name: &str, kept: WeightFormat, float: Format) -> Format {
        if kept != WeightFormat::Stored {
            return self.packed_format(name, kept);
        }
        if self.subtracted.contains_key(name) {
            return float;
        }
        let stored = match &self.weights {
            Weights::Shards(shards) => Some(shards.packed_format(name)),
            Weights::Gguf(file) => file.stored_format(name),
        };
        stored
            .filter(|format| *format != Format::F32)
            .unwrap_or(float)
    }

    /// Packs the weight `[n, k]` of this name in a format: straight from its blocks where it is stored so and nothing is
    /// taken out of it, else from its f32 values.
    ///
    /// # Errors
    /// As [`Checkpoint::packed`].
    pub(crate) fn packed_as(
        &self,
        name: &str,
        n: usize,
        k: usize,
        format: Format,
    ) -> Result<PackedMatrix, ModelError> {
        self.weights.check(name, &[n, k])?;
        let packed = match &self.weights {
            Weights::Gguf(file)
                if file.stored_format(name) == Some(format)
                    && !self.subtracted.contains_key(name) =>
            {
                file.packed(name, n, k, format)?
            }
            _ => {
                let tensor = self.tensor(name, &[n, k], DType::F32)?;
                let rows = View::<f32>::of(&tensor)?;
                PackedMatrix::from_f32(rows.slice(), n, k, format)
            }
        };
        packed.map_err(|source| ModelError::Packing {
            path: self.path().into(),
            tensor: name.to_owned(),
            source,
        })
    }
}

impl Weights {
    fn contains(&self, name: &str) -> bool {
        match self {
            Self::Shards(shards) => shards.contains(name),
            Self::Gguf(file) => file.contains(name),
        }
    }

    /// Whether `name` is there, readable, and of this shape.
    fn check(&self, name: &str, shape: &[usize]) -> Result<(), ModelError> {
        match self {
            Self::Shards(shards) => shards.check(name, shape),
            Self::Gguf(file) => file.check(name, shape),
        }
    }
}

#[cfg(test)]
mod tests;
