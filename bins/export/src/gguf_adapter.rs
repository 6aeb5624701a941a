//! An adapter as a GGUF file, as llama.cpp's `convert_lora_to_gguf.py` writes it.
//!
//! llama.cpp scales an update by `adapter.lora.alpha / rank`, with the rank of its `lora_b`, and knows
//! nothing else: a rank of a module's own needs no care, any other scale is folded into `B`. The rows
//! of `B` of q and k are permuted as those of the weights.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gguf::{GgmlType, GgufWriter};
use loader::{Adapter, Tensor};
use smollm_model::{ModelConfig, to_gguf};
use stage::{OrExit, StageError};

use crate::args::OutType;
use crate::gguf_tensors;
use crate::range::check_f16;

/// The name of the file.
pub(crate) fn file_name(outtype: OutType) -> String {
    format!("adapter-{}.gguf", outtype.name())
}

/// Writes the adapter into `out`.
pub(crate) fn write(
    out: &Path,
    adapter: &Adapter,
    model: &ModelConfig,
    base: &str,
    outtype: OutType,
) -> Result<PathBuf, StageError> {
    let mut writer = GgufWriter::new();
    let alpha = alpha(adapter);
    general(&mut writer, alpha, base, outtype).or_failed()?;
    let tensors = tensors(adapter, model, alpha).or_failed()?;
    for (name, tensor) in &tensors {
        let kind = outtype.kind(tensor.dims(), false);
        if kind == GgmlType::F16 {
            check_f16(name, tensor)?;
        }
        writer.tensor(name, tensor.dims(), kind).or_failed()?;
    }
    let path = out.join(file_name(outtype));
    stage::write_with(&path, |mut file| {
        writer.write(&mut file, |name| {
            let tensor = &tensors[name];
            gguf_tensors::bytes(tensor, outtype.kind(tensor.dims(), false))
        })
    })?;
    Ok(path)
}

fn general(
    writer: &mut GgufWriter,
    alpha: f64,
    base: &str,
    outtype: OutType,
) -> Result<(), gguf::Problem> {
    writer.set("general.architecture", "llama")?;
    writer.set("general.type", "adapter")?;
    writer.set("adapter.type", "lora")?;
    writer.set("general.base_model.count", 1u32)?;
    writer.set("general.base_model.0.name", crate::last_part(base))?;
    writer.set("general.file_type", outtype.file_type())?;
    writer.set("adapter.lora.alpha", alpha as f32)
}

/// The config's alpha. One of 0 means "no scale" to llama.cpp: then it is the rank, and the factors
/// hold the scale.
fn alpha(adapter: &Adapter) -> f64 {
    let config = adapter.config();
    if config.lora_alpha as f32 == 0.0 {
        return config.r as f64;
    }
    config.lora_alpha
}

/// Every factor under llama.cpp's name.
fn tensors(
    adapter: &Adapter,
    model: &ModelConfig,
    alpha: f64,
) -> Result<BTreeMap<String, Tensor>, smollm_model::ModelError> {
    let mut all = BTreeMap::new();
    for (site, pair) in adapter.pairs() {
        let rank = pair.b.dim(1)?;
        let missing = adapter.scale(site) * rank as f64 / alpha;
        let b = if (missing - 1.0).abs() <= 1e-12 {
            pair.b.clone()
        } else {
            let exact = pair.b.to_dtype(loader::DType::F64)?.affine(missing, 0.0)?;
            exact.to_dtype(loader::DType::F32)?
        };
        let (name, b) = to_gguf(&format!("{}.weight", site.path()), &b, model)?;
        all.insert(format!("{name}.lora_a"), pair.a.clone());
        all.insert(format!("{name}.lora_b"), b);
    }
    Ok(all)
}
