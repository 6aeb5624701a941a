//! The fields of `adapter_config.json` that must be off.

use crate::error::LoraError;
use serde_json::{Map, Value};

/// What an optional feature's field must be for the feature to be off.
enum Off {
    /// Absent, `null`, `false`, or empty.
    Empty,
    /// Absent, `null`, or one of these.
    OneOf(&'static [&'static str]),
}

/// Every field of PEFT 0.21.2 that changes the arithmetic, the base weights or the set of tensors.
const FEATURES: &[(&str, Off)] = &[
    ("alora_invocation_tokens", Off::Empty),
    ("arrow_config", Off::Empty),
    ("corda_config", Off::Empty),
    ("eva_config", Off::Empty),
    ("fan_in_fan_out", Off::Empty),
    // PiSSA, OLoRA, CorDA and LoftQ also rewrite the base weights.
    (
        "init_lora_weights",
        Off::OneOf(&["true", "false", "\"gaussian\"", "\"orthogonal\""]),
    ),
    ("kasa_config", Off::Empty),
    ("layer_replication", Off::Empty),
    ("layers_pattern", Off::Empty),
    ("loftq_config", Off::Empty),
    ("lora_bias", Off::Empty),
    ("lora_ga_config", Off::Empty),
    ("megatron_config", Off::Empty),
    ("modules_to_save", Off::Empty),
    ("monteclora_config", Off::Empty),
    ("target_parameters", Off::Empty),
    ("task_type", Off::OneOf(&["\"CAUSAL_LM\""])),
    ("trainable_token_indices", Off::Empty),
    ("use_bdlora", Off::Empty),
    ("use_qalora", Off::Empty),
    ("velora_config", Off::Empty),
];

/// Refuses the first field that asks for a feature we do not have.
pub(crate) fn refuse_features(fields: &Map<String, Value>) -> Result<(), LoraError> {
    for (name, off) in FEATURES {
        let Some(value) = fields.get(*name) else {
            continue;
        };
        let is_off = match (value, off) {
            (Value::Null, _) | (Value::Bool(false), Off::Empty) => true,
            (Value::Array(list), Off::Empty) => list.is_empty(),
            (Value::Object(map), Off::Empty) => map.is_empty(),
            (value, Off::OneOf(texts)) => texts.contains(&value.to_string().as_str()),
            _ => false,
        };
        if !is_off {
            return Err(LoraError::Unsupported {
                field: (*name).to_string(),
                found: value.to_string(),
                expected: match (*name, off) {
                    ("task_type", _) => "\"CAUSAL_LM\" or null",
                    (_, Off::OneOf(_)) => {
                        "true, false, \"gaussian\" or \"orthogonal\": other factors may stand beside a changed base; \
                         save it once more with PEFT's path_initial_model_for_weight_conversion, which makes plain LoRA of it"
                    }
                    (_, Off::Empty) => "null, false or empty",
                },
            });
        }
    }
    Ok(())
}
