//! An adapter as a GGUF file, as llama.cpp's `convert_lora_to_gguf.py` writes it.
//!
//! llama.cpp scales an update by `adapter.lora.alpha / rank`, with the rank of its `lora_b`, and knows
//! nothing else: a rank of a module's own needs no care, any other scale is folded into `B`. The rows
//! of `B` of q and k are permuted as those of the weights. Of the embedding `A` is transposed: its rows are looked up, as
//! those of the table are. Beside a base with one table for embedding and head neither can have an adapter: there is no
//! `output.weight`, and one of `token_embd.weight` llama.cpp would take for the head's too, whose shapes do not fit (it
//! aborts). DoRA's magnitudes have no place at all.

use std::collections::BTreeMap;

use gguf::GgufWriter;
use loader::{Adapter, Tensor};
use smollm_model::{ModelConfig, Site, to_gguf};
use stage::{OrExit, StageError};

use crate::args::OutType;
use crate::gguf_tensors::GgufOut;

/// The name of the file.
pub(crate) fn file_name(outtype: OutType) -> String {
    format!("adapter-{}.gguf", outtype.name())
}

/// The adapter's file, ready to be written.
pub(crate) fn prepare(
    adapter: &Adapter,
    model: &ModelConfig,
    base: &str,
    outtype: OutType,
) -> Result<GgufOut, StageError> {
    if adapter.config().use_dora {
        let action = "written as a GGUF adapter, since llama.cpp has no DoRA";
        return Err(StageError::bad_data(lora::LoraError::Dora { action }));
    }
    let mut sites = adapter.pairs().map(|(site, _)| site);
    let shared = sites.find(|site| site.layer().is_none());
    if let Some(site) = shared.filter(|_| model.tie_word_embeddings) {
        return Err(StageError::bad_data(lora::LoraError::Vocabulary {
            module: site.module().name(),
            action: "written as a GGUF adapter beside this base, whose embedding and head are one tensor there",
        }));
    }
    let mut writer = GgufWriter::new();
    let alpha = alpha(adapter);
    general(&mut writer, alpha, base, outtype).or_failed()?;
    let tensors = tensors(adapter, model, alpha).or_failed()?;
    let tensors = tensors.into_iter().map(|(name, tensor)| {
        let kind = outtype.kind(tensor.dims(), false);
        (name, (tensor, kind))
    });
    GgufOut::new(file_name(outtype), writer, tensors.collect())
}

fn general(
    writer: &mut GgufWriter,
    alpha: f32,
    base: &str,
    outtype: OutType,
) -> Result<(), gguf::Problem> {
    writer.set("general.architecture", "llama")?;
    writer.set("general.type", "adapter")?;
    writer.set("adapter.type", "lora")?;
    writer.set("general.base_model.count", 1u32)?;
    writer.set("general.base_model.0.name", crate::last_part(base))?;
    writer.set("general.file_type", outtype.file_type())?;
    writer.set("adapter.lora.alpha", alpha)
}

/// The config's alpha, as the file has it. One of 0 means "no scale" to llama.cpp: then it is the
/// rank, and the factors hold the scale.
fn alpha(adapter: &Adapter) -> f32 {
    let config = adapter.config();
    let alpha = config.lora_alpha as f32;
    if alpha == 0.0 {
        return config.r as f32;
    }
    alpha
}

/// Every factor under llama.cpp's name.
fn tensors(
    adapter: &Adapter,
    model: &ModelConfig,
    alpha: f32,
) -> Result<BTreeMap<String, Tensor>, smollm_model::ModelError> {
    let mut all = BTreeMap::new();
    for (site, pair) in adapter.pairs() {
        let rank = pair.b.dim(1)?;
        let missing = adapter.scale(site) * rank as f64 / f64::from(alpha);
        let b = if (missing - 1.0).abs() <= 1e-12 {
            pair.b.clone()
        } else {
            let exact = pair.b.to_dtype(loader::DType::F64)?.affine(missing, 0.0)?;
            exact.to_dtype(loader::DType::F32)?
        };
        let (name, b) = to_gguf(&site.weight_name(), &b, model)?;
        let a = match site {
            Site::Embedding => pair.a.t()?.contiguous()?,
            _ => pair.a.clone(),
        };
        all.insert(format!("{name}.lora_a"), a);
        all.insert(format!("{name}.lora_b"), b);
    }
    Ok(all)
}
