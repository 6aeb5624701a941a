//! `config.json` and `generation_config.json`, as transformers writes them.

use std::collections::HashSet;
use std::path::Path;

use serde_json::{Map, Value};

use super::{ModelConfig, Place, default_head_dim};
use crate::ModelError;
use crate::text_file::{CONFIG_BYTES, read_text};

/// See [`ModelConfig::from_dir`]. Defaults are those of transformers' `LlamaConfig`.
pub(super) fn read(dir: &Path) -> Result<ModelConfig, ModelError> {
    let path = dir.join("config.json");
    let json = Keys {
        place: Place {
            path: path.clone(),
            rename: &str::to_owned,
        },
        map: object(&path)?,
    };
    refuse_what_is_not_implemented(&json)?;
    let hidden_size = json.size("hidden_size")?;
    let num_attention_heads = json.size("num_attention_heads")?;
    let head_dim = match json.opt_size("head_dim")? {
        Some(width) => width,
        None => default_head_dim(hidden_size, num_attention_heads, &json.place)?,
    };
    let mut eos_token_ids = generation_eos(dir)?;
    eos_token_ids.extend(json.token_ids("eos_token_id")?);
    let mut seen = HashSet::new();
    eos_token_ids.retain(|id| seen.insert(*id));
    let config = ModelConfig {
        hidden_size,
        intermediate_size: json.size("intermediate_size")?,
        num_hidden_layers: json.size("num_hidden_layers")?,
        num_attention_heads,
        num_key_value_heads: json
            .opt_size("num_key_value_heads")?
            .unwrap_or(num_attention_heads),
        head_dim,
        vocab_size: json.size("vocab_size")?,
        max_position_embeddings: json.opt_size("max_position_embeddings")?.unwrap_or(2048),
        rms_norm_eps: json.opt_float("rms_norm_eps")?.unwrap_or(1e-6),
        rope_theta: rope_theta(&json)?,
        tie_word_embeddings: json.opt_bool("tie_word_embeddings")?.unwrap_or(false),
        bos_token_id: json.token_ids("bos_token_id")?.first().copied(),
        eos_token_ids,
        // Nothing that answers depends on it, so -1, which some models have, is as good as none.
        pad_token_id: json
            .get("pad_token_id")
            .and_then(Value::as_u64)
            .and_then(|id| u32::try_from(id).ok()),
    };
    config.checked(&json.place)
}

/// Each of these changes what the network computes; none is what SmolLM2 does.
fn refuse_what_is_not_implemented(json: &Keys<'_>) -> Result<(), ModelError> {
    let wrong = |key: &str, found: &Value, expected: &str| {
        Err(json.place.wrong(key, found, expected.to_owned()))
    };
    if let Some(found) = json.get("architectures") {
        let listed = found
            .as_array()
            .is_some_and(|all| all.iter().any(|a| a == "LlamaForCausalLM"));
        if !listed {
            return wrong(
                "architectures",
                found,
                "[\"LlamaForCausalLM\"], the only one supported",
            );
        }
    }
    match json.get("model_type") {
        Some(found) if found != "llama" => return wrong("model_type", found, "\"llama\""),
        _ => {}
    }
    match json.get("hidden_act") {
        Some(found) if found != "silu" && found != "swish" => {
            return wrong(
                "hidden_act",
                found,
                "\"silu\", the only activation supported",
            );
        }
        _ => {}
    }
    for key in ["attention_bias", "mlp_bias"] {
        if json.opt_bool(key)? == Some(true) {
            return wrong(key, &Value::Bool(true), "false: biases are not supported");
        }
    }
    if json.get("quantization_config").is_some() {
        return wrong(
            "quantization_config",
            &Value::from("present"),
            "absent: give the model unquantised, or as .gguf",
        );
    }
    for key in ["rope_scaling", "rope_parameters"] {
        let Some(found) = json.get(key) else { continue };
        let kind = found.get("rope_type").or_else(|| found.get("type"));
        // transformers 5 writes `rope_parameters` for every model; its plain kind is `default`.
        let plain = kind.is_some_and(|kind| kind == "default")
            || (key == "rope_parameters" && kind.is_none());
        if !plain {
            return wrong(key, found, "absent: scaled RoPE is not supported");
        }
    }
    Ok(())
}

/// transformers 4 keeps `rope_theta` at the top, transformers 5 inside `rope_parameters`.
fn rope_theta(json: &Keys<'_>) -> Result<f64, ModelError> {
    if let Some(theta) = json.opt_float("rope_theta")? {
        return Ok(theta);
    }
    match json
        .get("rope_parameters")
        .and_then(|rope| rope.get("rope_theta"))
    {
        None => Ok(10_000.0),
        Some(theta) => theta.as_f64().ok_or_else(|| {
            json.place
                .wrong("rope_parameters.rope_theta", theta, "a number".into())
        }),
    }
}

/// End tokens of `generation_config.json`, none where there is no such file.
fn generation_eos(dir: &Path) -> Result<Vec<u32>, ModelError> {
    let path = dir.join("generation_config.json");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let map = object(&path)?;
    Keys {
        place: Place {
            path,
            rename: &str::to_owned,
        },
        map,
    }
    .token_ids("eos_token_id")
}

fn object(path: &Path) -> Result<Map<String, Value>, ModelError> {
    let text = read_text(path, CONFIG_BYTES)?;
    serde_json::from_str(&text).map_err(|e| ModelError::Incomplete {
        path: path.to_path_buf(),
        reason: format!("not a JSON object: {e}"),
        remedy: "get the file again",
    })
}

/// A JSON object whose getters name file and key when they fail; `null` counts as absent.
struct Keys<'a> {
    place: Place<'a>,
    map: Map<String, Value>,
}

impl Keys<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    fn typed<T>(
        &self,
        key: &str,
        expected: &str,
        convert: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, ModelError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let wrong = || self.place.wrong(key, value, expected.to_owned());
        convert(value).map(Some).ok_or_else(wrong)
    }

    fn opt_size(&self, key: &str) -> Result<Option<usize>, ModelError> {
        let convert = |v: &Value| v.as_u64().and_then(|n| usize::try_from(n).ok());
        self.typed(key, "a whole number", convert)
    }

    fn size(&self, key: &str) -> Result<usize, ModelError> {
        let missing = || self.place.wrong(key, "missing", "a whole number".into());
        self.opt_size(key)?.ok_or_else(missing)
    }

    fn opt_float(&self, key: &str) -> Result<Option<f64>, ModelError> {
        self.typed(key, "a number", Value::as_f64)
    }

    fn opt_bool(&self, key: &str) -> Result<Option<bool>, ModelError> {
        self.typed(key, "true or false", Value::as_bool)
    }

    /// One id or a list of ids; empty where the key is absent.
    fn token_ids(&self, key: &str) -> Result<Vec<u32>, ModelError> {
        let one = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
        let convert = |v: &Value| match v.as_array() {
            Some(all) => all.iter().map(one).collect(),
            None => one(v).map(|id| vec![id]),
        };
        let ids = self.typed(key, "a token id or a list of them", convert)?;
        Ok(ids.unwrap_or_default())
    }
}
