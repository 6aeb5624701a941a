//! `adapter_config.json`, as PEFT reads and writes it.
//!
//! The file has about forty fields. Six of them are ours to use; most others ask for another
//! method (`DoRA`, per-layer ranks, trained biases, …) and change the arithmetic when they are set.
//! Reading past one of those would give wrong answers without a sign, so each is an error that names
//! the field. Fields that we do not know are skipped, as PEFT does: tensors that such a field would
//! bring along are still caught by the strict check of the weights.

use crate::error::LoraError;
use crate::target::TargetModules;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The name of the config file in an adapter's folder.
pub const CONFIG_FILE: &str = "adapter_config.json";

/// What a LoRA adapter is: rank, scale, and where it sits.
///
/// ```
/// use lora::LoraConfig;
///
/// let text = r#"{"peft_type": "LORA", "r": 8, "lora_alpha": 32, "target_modules": ["q_proj"]}"#;
/// let config: LoraConfig = serde_json::from_str(text)?;
/// assert_eq!(config.scale(), 4.0);
///
/// let dora = r#"{"peft_type": "LORA", "r": 8, "lora_alpha": 32, "target_modules": ["q_proj"], "use_dora": true}"#;
/// let error = serde_json::from_str::<LoraConfig>(dora).unwrap_err();
/// assert!(error.to_string().contains("use_dora"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct LoraConfig {
    /// Rank: rows of A, columns of B.
    pub r: usize,
    /// Numerator of the scale.
    pub lora_alpha: f64,
    /// Probability of dropping an input feature of A while training.
    pub lora_dropout: f64,
    /// The projections that carry an adapter, in every layer.
    pub target_modules: TargetModules,
    /// Scale by `alpha / sqrt(r)` instead of `alpha / r` (Kalajdzievski 2023).
    pub use_rslora: bool,
    /// The model that the adapter was trained on: hub id or path.
    pub base_model_name_or_path: Option<String>,
    /// That model's revision on the hub.
    pub revision: Option<String>,
}

impl Default for LoraConfig {
    /// The original's defaults: r 16, alpha 32, dropout 0.05, on the four projections of attention.
    fn default() -> Self {
        Self {
            r: 16,
            lora_alpha: 32.0,
            lora_dropout: 0.05,
            target_modules: TargetModules::attention(),
            use_rslora: false,
            base_model_name_or_path: None,
            revision: None,
        }
    }
}

impl LoraConfig {
    /// What multiplies `B A x`: `alpha / r`, or `alpha / sqrt(r)` with `use_rslora`.
    pub fn scale(&self) -> f64 {
        let r = self.r as f64;
        self.lora_alpha / if self.use_rslora { r.sqrt() } else { r }
    }

    /// The same config, if its numbers make sense.
    ///
    /// # Errors
    /// A rank of 0, an alpha that is not finite in f32, a dropout outside `[0, 1)`.
    pub fn checked(self) -> Result<Self, LoraError> {
        let field = |field, found: String, expected| LoraError::Field {
            field,
            found,
            expected,
        };
        if self.r == 0 {
            return Err(field("r", "0".into(), "at least 1"));
        }
        // The scale meets f32 numbers.
        if !(self.lora_alpha as f32).is_finite() {
            let found = self.lora_alpha.to_string();
            return Err(field("lora_alpha", found, "a finite number of f32"));
        }
        if !(0.0..1.0).contains(&self.lora_dropout) {
            let found = self.lora_dropout.to_string();
            return Err(field("lora_dropout", found, "at least 0 and below 1"));
        }
        Ok(self)
    }
}

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
    ("alpha_pattern", Off::Empty),
    ("arrow_config", Off::Empty),
    ("bias", Off::OneOf(&["\"none\""])),
    ("corda_config", Off::Empty),
    ("eva_config", Off::Empty),
    ("exclude_modules", Off::Empty),
    ("fan_in_fan_out", Off::Empty),
    // PiSSA, OLoRA, CorDA and LoftQ also rewrite the base weights.
    (
        "init_lora_weights",
        Off::OneOf(&["true", "false", "\"gaussian\""]),
    ),
    ("kasa_config", Off::Empty),
    ("layer_replication", Off::Empty),
    ("layers_pattern", Off::Empty),
    ("layers_to_transform", Off::Empty),
    ("loftq_config", Off::Empty),
    ("lora_bias", Off::Empty),
    ("lora_ga_config", Off::Empty),
    ("megatron_config", Off::Empty),
    ("modules_to_save", Off::Empty),
    ("monteclora_config", Off::Empty),
    ("rank_pattern", Off::Empty),
    ("target_parameters", Off::Empty),
    ("task_type", Off::OneOf(&["\"CAUSAL_LM\""])),
    ("trainable_token_indices", Off::Empty),
    ("use_bdlora", Off::Empty),
    ("use_dora", Off::Empty),
    ("use_qalora", Off::Empty),
    ("velora_config", Off::Empty),
];

fn refuse_features(fields: &Map<String, Value>) -> Result<(), LoraError> {
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
                    ("bias", _) => "\"none\"",
                    ("task_type", _) => "\"CAUSAL_LM\" or null",
                    (_, Off::OneOf(_)) => "true, false or \"gaussian\"",
                    (_, Off::Empty) => "null, false or empty",
                },
            });
        }
    }
    Ok(())
}

/// A field through `get`: its default when absent or null, an error when of another type.
fn field<T>(
    fields: &Map<String, Value>,
    name: &'static str,
    expected: &'static str,
    default: Option<T>,
    get: impl Fn(&Value) -> Option<T>,
) -> Result<T, LoraError> {
    let refuse = |found: String| LoraError::Field {
        field: name,
        found,
        expected,
    };
    match fields.get(name) {
        None | Some(Value::Null) => default.ok_or_else(|| refuse("missing".into())),
        Some(value) => get(value).ok_or_else(|| refuse(value.to_string())),
    }
}

impl TryFrom<Map<String, Value>> for LoraConfig {
    type Error = LoraError;

    fn try_from(fields: Map<String, Value>) -> Result<Self, LoraError> {
        let text = |v: &Value| v.as_str().map(|s| Some(s.to_string()));
        let kind = field(&fields, "peft_type", "\"LORA\"", None, |v| {
            v.as_str().map(String::from)
        })?;
        if kind != "LORA" {
            return Err(LoraError::Unsupported {
                field: "peft_type".into(),
                found: format!("{kind:?}"),
                expected: "\"LORA\"",
            });
        }
        refuse_features(&fields)?;
        let whole = |v: &Value| v.as_u64().and_then(|r| usize::try_from(r).ok());
        Self {
            r: field(&fields, "r", "a positive integer", Some(8), whole)?,
            lora_alpha: field(&fields, "lora_alpha", "a number", Some(8.0), Value::as_f64)?,
            lora_dropout: field(
                &fields,
                "lora_dropout",
                "a number",
                Some(0.0),
                Value::as_f64,
            )?,
            target_modules: TargetModules::from_json(fields.get("target_modules"))?,
            use_rslora: field(
                &fields,
                "use_rslora",
                "true or false",
                Some(false),
                Value::as_bool,
            )?,
            base_model_name_or_path: field(
                &fields,
                "base_model_name_or_path",
                "text",
                Some(None),
                text,
            )?,
            revision: field(&fields, "revision", "text", Some(None), text)?,
        }
        .checked()
    }
}

/// 32.0 as `32`, so that readers which want an integer alpha get one.
fn number(x: f64) -> Value {
    if x.fract() == 0.0 && x.abs() < 1e15 {
        Value::from(x as i64)
    } else {
        Value::from(x)
    }
}

impl From<LoraConfig> for Map<String, Value> {
    /// Sorted by name, as PEFT writes it, with the fields that PEFT has had since LoRA-only days;
    /// it fills in the rest.
    fn from(config: LoraConfig) -> Self {
        let fields = [
            ("alpha_pattern", json!({})),
            ("auto_mapping", Value::Null),
            (
                "base_model_name_or_path",
                json!(config.base_model_name_or_path),
            ),
            ("bias", json!("none")),
            ("fan_in_fan_out", json!(false)),
            ("inference_mode", json!(true)),
            ("init_lora_weights", json!(true)),
            ("layers_pattern", Value::Null),
            ("layers_to_transform", Value::Null),
            ("lora_alpha", number(config.lora_alpha)),
            ("lora_dropout", json!(config.lora_dropout)),
            ("modules_to_save", Value::Null),
            ("peft_type", json!("LORA")),
            ("r", json!(config.r)),
            ("rank_pattern", json!({})),
            ("revision", json!(config.revision)),
            ("target_modules", config.target_modules.to_json()),
            ("task_type", json!("CAUSAL_LM")),
            ("use_dora", json!(false)),
            ("use_rslora", json!(config.use_rslora)),
        ];
        fields
            .into_iter()
            .map(|(k, v)| (k.to_string(), v))
            .collect()
    }
}
