//! A merged model as one GGUF file, as llama.cpp's `convert_hf_to_gguf.py` writes it.

use std::collections::BTreeMap;

use gguf::GgufWriter;
use loader::Loaded;
use smollm_model::{ModelConfig, ModelError, ModelFiles, to_gguf};
use stage::{OrExit, StageError};

use crate::args::OutType;
use crate::gguf_tensors::GgufOut;
use crate::gguf_vocabulary;

/// `general.quantization_version`: that of all block types since 2023.
const QUANTIZATION_VERSION: u32 = 2;

/// The name of the file.
pub(crate) fn file_name(outtype: OutType) -> String {
    format!("model-{}.gguf", outtype.name())
}

/// The model's file, ready to be written.
pub(crate) fn prepare(
    files: &ModelFiles,
    loaded: &Loaded,
    outtype: OutType,
    license: Option<&str>,
) -> Result<GgufOut, StageError> {
    let config = loaded.model.config();
    let mut writer = GgufWriter::new();
    general(&mut writer, &loaded.base_name, license, outtype).or_failed()?;
    sizes(&mut writer, config).or_failed()?;
    gguf_vocabulary::write(&mut writer, files, &loaded.prompter, config)?;

    let weights = loaded.model.named_weights();
    let tensors = weights.into_iter().map(|(name, weight)| {
        let (name, weight) = to_gguf(&name, weight, config)?;
        let head = if config.tie_word_embeddings {
            "token_embd.weight"
        } else {
            "output.weight"
        };
        let kind = outtype.kind(weight.dims(), name == head);
        Ok((name, (weight, kind)))
    });
    let tensors = tensors
        .collect::<Result<BTreeMap<_, _>, ModelError>>()
        .or_failed()?;
    GgufOut::new(file_name(outtype), writer, tensors)
}

/// What the file is.
fn general(
    writer: &mut GgufWriter,
    base: &str,
    license: Option<&str>,
    outtype: OutType,
) -> Result<(), gguf::Problem> {
    writer.set("general.architecture", "llama")?;
    writer.set("general.type", "model")?;
    writer.set("general.name", crate::last_part(base))?;
    if let Some(license) = license {
        writer.set("general.license", license)?;
    }
    writer.set("general.file_type", outtype.file_type())?;
    writer.set("general.quantization_version", QUANTIZATION_VERSION)
}

/// The model's sizes and constants.
fn sizes(writer: &mut GgufWriter, config: &ModelConfig) -> Result<(), gguf::Problem> {
    let sizes = [
        ("block_count", config.num_hidden_layers),
        ("context_length", config.max_position_embeddings),
        ("embedding_length", config.hidden_size),
        ("feed_forward_length", config.intermediate_size),
        ("attention.head_count", config.num_attention_heads),
        ("attention.head_count_kv", config.num_key_value_heads),
        ("attention.key_length", config.head_dim),
        ("attention.value_length", config.head_dim),
        ("rope.dimension_count", config.head_dim),
        ("vocab_size", config.vocab_size),
    ];
    for (key, size) in sizes {
        // Sizes of a model are checked to be below 2^28 when it is read.
        writer.set(&format!("llama.{key}"), size as u32)?;
    }
    writer.set("llama.rope.freq_base", config.rope_theta as f32)?;
    let epsilon = config.rms_norm_eps as f32;
    writer.set("llama.attention.layer_norm_rms_epsilon", epsilon)
}
