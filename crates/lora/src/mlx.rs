//! mlx-lm's adapter folder: `adapters.safetensors` and `adapter_config.json`.
//!
//! Source: `load_adapters` and `linear_to_lora_layers` (`mlx_lm/tuner/utils.py`) and `LoRALinear`
//! (`mlx_lm/tuner/lora.py`): `y = W x + scale · (x lora_a) lora_b`, one rank and one scale for all,
//! modules by their path within a block, in the last `num_layers` blocks.

use crate::adapter::Adapter;
use crate::config::CONFIG_FILE;
use crate::error::LoraError;
use crate::files::{make_folder, safetensors_bytes, write_json, write_whole};
use serde_json::json;
use smollm_model::{Module, Projection};
use std::path::Path;

/// The name of the weights in an mlx-lm adapter's folder.
pub const MLX_WEIGHTS_FILE: &str = "adapters.safetensors";

impl Adapter {
    /// Whether mlx-lm has a place for every update.
    ///
    /// # Errors
    /// One is of the embedding or the head.
    pub fn check_mlx(&self) -> Result<(), LoraError> {
        let mut modules = self.pairs().map(|(site, _)| site);
        match modules.find(|site| site.layer().is_none()) {
            None => Ok(()),
            Some(site) => Err(LoraError::Vocabulary {
                module: site.module().name(),
                action: "written for mlx-lm, whose adapters stand in layers alone",
            }),
        }
    }

    /// Writes the adapter as mlx-lm does, for a model of so many layers: the factors of
    /// [`Adapter::portable`], transposed: `lora_a` `[in, r]`, `lora_b` `[r, out]`, F32. A module of
    /// one of the layers that has no update is left out: mlx-lm starts it at zero.
    ///
    /// Each file appears whole or not at all, the config last.
    ///
    /// # Errors
    /// A DoRA adapter, as for [`Adapter::portable`]; one of the embedding or the head, which mlx-lm has no place for; the folder cannot be made or written to.
    pub fn save_mlx(&self, dir: impl AsRef<Path>, layers: usize) -> Result<(), LoraError> {
        let dir = dir.as_ref();
        self.check_mlx()?;
        let plain = self.portable(layers)?;
        make_folder(dir)?;
        let mut tensors = Vec::new();
        for (site, pair) in plain.pairs() {
            let path = site.path();
            tensors.push((format!("{path}.lora_a"), pair.a.t()?.contiguous()?));
            tensors.push((format!("{path}.lora_b"), pair.b.t()?.contiguous()?));
        }
        tensors.sort_by(|(a, _), (b, _)| a.cmp(b));
        let path = dir.join(MLX_WEIGHTS_FILE);
        write_whole(&path, &safetensors_bytes(&path, tensors)?)?;
        let used = |p: &Projection| {
            let mut sites = plain.pairs();
            sites.any(|(site, _)| site.module() == Module::Linear(*p))
        };
        let keys = Projection::ALL.into_iter().filter(used);
        let first = plain.pairs().filter_map(|(site, _)| site.layer()).min();
        let config = plain.config();
        let text = json!({
            "fine_tune_type": "lora",
            "lora_parameters": {
                "dropout": config.lora_dropout,
                "keys": keys.map(Projection::path).collect::<Vec<_>>(),
                "rank": config.r,
                "scale": config.scale(),
            },
            "model": config.base_model_name_or_path,
            "num_layers": layers - first.unwrap_or(0).min(layers),
        });
        write_json(&dir.join(CONFIG_FILE), &text)
    }
}
