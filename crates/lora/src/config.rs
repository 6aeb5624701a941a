//! `adapter_config.json`, as PEFT reads and writes it.
//!
//! The file has about forty fields. Twelve of them are ours to use; most others ask for another
//! method (QA-LoRA, other initialisations, …) and change the arithmetic when set.
//! Reading past one of those would give wrong answers without a sign, so each is an error that names
//! the field. Fields that we do not know are skipped, as PEFT does: tensors that such a field would
//! bring along are still caught by the strict check of the weights.

use crate::error::LoraError;
use crate::features::refuse_features;
use crate::modules::{Modules, Overrides};
use crate::target::TargetModules;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use smollm_model::Site;

/// The name of the config file in an adapter's folder.
pub const CONFIG_FILE: &str = "adapter_config.json";

/// More layers than any model has: a number in a file must not make us count to it.
pub(crate) const MOST_LAYERS: usize = 1 << 12;

/// What a LoRA adapter is: rank, scale, and where it sits.
///
/// ```
/// use lora::LoraConfig;
///
/// let text = r#"{"peft_type": "LORA", "r": 8, "lora_alpha": 32, "target_modules": ["q_proj"]}"#;
/// let config: LoraConfig = serde_json::from_str(text)?;
/// assert_eq!(config.scale(), 4.0);
///
/// let other = r#"{"peft_type": "LORA", "r": 8, "lora_alpha": 32, "target_modules": ["q_proj"], "use_qalora": true}"#;
/// let error = serde_json::from_str::<LoraConfig>(other).unwrap_err();
/// assert!(error.to_string().contains("use_qalora"));
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
    /// The modules that carry an adapter.
    pub target_modules: TargetModules,
    /// Of those, the ones that do not.
    pub exclude_modules: Option<Modules>,
    /// The layers that carry an adapter; all of them where this is not given. Embedding and head are in none, so that
    /// either has an adapter only where this is not given.
    pub layers_to_transform: Option<Vec<usize>>,
    /// Other ranks for some modules.
    pub rank_pattern: Overrides<usize>,
    /// Other alphas for some modules.
    pub alpha_pattern: Overrides<f64>,
    /// Scale by `alpha / sqrt(r)` instead of `alpha / r` (Kalajdzievski 2023).
    pub use_rslora: bool,
    /// DoRA (Liu et al. 2024): rows of the adapted weight have a trained magnitude of their own.
    pub use_dora: bool,
    /// Which biases of the base learn; without effect, as the base has none.
    pub bias: Bias,
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
            exclude_modules: None,
            layers_to_transform: None,
            rank_pattern: Overrides::default(),
            alpha_pattern: Overrides::default(),
            use_rslora: false,
            use_dora: false,
            bias: Bias::None,
            base_model_name_or_path: None,
            revision: None,
        }
    }
}

/// What `bias` may be.
const BIASES: &str = "\"none\", \"all\" or \"lora_only\"";

/// Which biases of the base learn beside the factors: PEFT's `bias`.
///
/// The models that we read have no biases (one that has is refused when it is opened), so PEFT trains and saves the
/// same with all three; the word is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bias {
    /// `none`
    #[default]
    None,
    /// `all`
    All,
    /// `lora_only`: those of modules with an adapter.
    LoraOnly,
}

impl Bias {
    /// PEFT's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::All => "all",
            Self::LoraOnly => "lora_only",
        }
    }

    /// The one that PEFT calls so.
    pub fn from_name(name: &str) -> Option<Self> {
        let mut all = [Self::None, Self::All, Self::LoraOnly].into_iter();
        all.find(|bias| bias.name() == name)
    }
}

/// What one module's update is like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Rows of A, columns of B.
    pub rank: usize,
    /// What multiplies `B A x`.
    pub scale: f64,
}

impl LoraConfig {
    /// What multiplies `B A x`: `alpha / r`, or `alpha / sqrt(r)` with `use_rslora`. Modules that
    /// `rank_pattern` or `alpha_pattern` speak of have their own, see [`LoraConfig::at`].
    pub fn scale(&self) -> f64 {
        self.scale_of(self.r, self.lora_alpha)
    }

    fn scale_of(&self, rank: usize, alpha: f64) -> f64 {
        let r = rank as f64;
        alpha / if self.use_rslora { r.sqrt() } else { r }
    }

    /// Rank and scale at a site, or nothing where the config puts no adapter.
    ///
    /// # Errors
    /// A regular expression takes too long; `use_dora` beside the embedding, which this crate has no magnitudes for.
    pub fn at(&self, site: Site) -> Result<Option<Shape>, LoraError> {
        let layers = self.layers_to_transform.as_ref();
        let chosen = |layers: &Vec<usize>| site.layer().is_some_and(|l| layers.contains(&l));
        if layers.is_some_and(|layers| !chosen(layers)) {
            return Ok(None);
        }
        if let Some(excluded) = &self.exclude_modules
            && excluded.matches(site)?
        {
            return Ok(None);
        }
        if !self.target_modules.matches(site)? {
            return Ok(None);
        }
        if self.use_dora && site == Site::Embedding {
            return Err(LoraError::Field {
                field: "use_dora",
                found: "true".into(),
                expected: "false beside an adapter of embed_tokens; leave embed_tokens out of target_modules, or train without DoRA",
            });
        }
        let path = site.path();
        let rank = self
            .rank_pattern
            .get("rank_pattern", &path)?
            .unwrap_or(self.r);
        let alpha = self.alpha_pattern.get("alpha_pattern", &path)?;
        let scale = self.scale_of(rank, alpha.unwrap_or(self.lora_alpha));
        Ok(Some(Shape { rank, scale }))
    }

    /// All sites of a model of so many layers, in the order of the forward pass, with their shapes.
    ///
    /// # Errors
    /// There is none, or a regular expression takes too long.
    pub fn sites(&self, layers: usize) -> Result<Vec<(Site, Shape)>, LoraError> {
        let mut sites = Vec::new();
        for site in Site::all(layers) {
            sites.extend(self.at(site)?.map(|shape| (site, shape)));
        }
        if sites.is_empty() {
            return Err(LoraError::NoSite {
                targets: self.target_modules.to_string(),
                layers,
            });
        }
        Ok(sites)
    }

    /// The same config, if its numbers make sense.
    ///
    /// # Errors
    /// A rank of 0, an alpha that is not finite in f32, a dropout outside `[0, 1)`, layers beside a
    /// regular expression.
    pub fn checked(self) -> Result<Self, LoraError> {
        let field = |field, found: String, expected| LoraError::Field {
            field,
            found,
            expected,
        };
        let ranks = self.rank_pattern.iter().map(|(_, r)| ("rank_pattern", r));
        if let Some((name, _)) = ranks.chain([("r", self.r)]).find(|(_, r)| *r == 0) {
            return Err(field(name, "0".into(), "at least 1"));
        }
        // The scale meets f32 numbers.
        let alphas = self.alpha_pattern.iter().map(|(_, a)| ("alpha_pattern", a));
        let bad = alphas
            .chain([("lora_alpha", self.lora_alpha)])
            .find(|(_, alpha)| !(*alpha as f32).is_finite());
        if let Some((name, alpha)) = bad {
            return Err(field(name, alpha.to_string(), "a finite number of f32"));
        }
        if !(0.0..1.0).contains(&self.lora_dropout) {
            let found = self.lora_dropout.to_string();
            return Err(field("lora_dropout", found, "at least 0 and below 1"));
        }
        let mut layers = self.layers_to_transform.iter().flatten();
        if let Some(layer) = layers.find(|layer| **layer >= MOST_LAYERS) {
            let found = layer.to_string();
            return Err(field("layers_to_transform", found, "layers below 4096"));
        }
        if self.layers_to_transform.is_some() && self.target_modules.is_regex() {
            let found = format!("{:?}", self.layers_to_transform.unwrap_or_default());
            let expected =
                "null beside a regular expression in target_modules, which can name layers itself";
            return Err(field("layers_to_transform", found, expected));
        }
        Ok(self)
    }
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

/// `rank_pattern` and `alpha_pattern`: an object whose keys are regular expressions.
fn overrides<T: Copy>(
    fields: &Map<String, Value>,
    name: &'static str,
    get: impl Fn(&Value) -> Option<T>,
) -> Result<Overrides<T>, LoraError> {
    let expected = "an object of regular expressions and numbers";
    let empty = Some(Vec::new());
    let pairs = field(fields, name, expected, empty, |value| {
        let pairs = value.as_object()?.iter();
        let pairs = pairs.map(|(key, value)| Some((key.clone(), get(value)?)));
        pairs.collect::<Option<Vec<_>>>()
    })?;
    Overrides::new(
        name,
        pairs.iter().map(|(key, value)| (key.as_str(), *value)),
    )
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
        let switch = |name| field(&fields, name, "true or false", Some(false), Value::as_bool);
        let whole = |v: &Value| v.as_u64().and_then(|r| usize::try_from(r).ok());
        // A number or a list; an empty list is none given, as in PEFT.
        let layers = |v: &Value| {
            let list = match v {
                Value::Array(list) => list.iter().map(whole).collect::<Option<Vec<_>>>()?,
                one => vec![whole(one)?],
            };
            Some(Some(list).filter(|list| !list.is_empty()))
        };
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
            exclude_modules: Modules::from_json(fields.get("exclude_modules"))?,
            layers_to_transform: field(
                &fields,
                "layers_to_transform",
                "null, a layer, or a list of layers",
                Some(None),
                layers,
            )?,
            rank_pattern: overrides(&fields, "rank_pattern", whole)?,
            alpha_pattern: overrides(&fields, "alpha_pattern", Value::as_f64)?,
            use_rslora: switch("use_rslora")?,
            use_dora: switch("use_dora")?,
            bias: field(&fields, "bias", BIASES, Some(Bias::None), |v| {
                v.as_str().and_then(Bias::from_name)
            })?,
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
        let alphas = config.alpha_pattern.iter();
        let alphas: Map<_, _> = alphas.map(|(k, a)| (k.to_owned(), number(a))).collect();
        let ranks = config.rank_pattern.iter();
        let ranks: Map<_, _> = ranks.map(|(k, r)| (k.to_owned(), json!(r))).collect();
        let excluded = config.exclude_modules.as_ref().map(Modules::to_json);
        let excluded = excluded.map(|value| ("exclude_modules", value));
        let fields = [
            ("alpha_pattern", Value::Object(alphas)),
            ("auto_mapping", Value::Null),
            (
                "base_model_name_or_path",
                json!(config.base_model_name_or_path),
            ),
            ("bias", json!(config.bias.name())),
        ]
        .into_iter()
        // PEFT has not always had this one.
        .chain(excluded)
        .chain([
            ("fan_in_fan_out", json!(false)),
            ("inference_mode", json!(true)),
            ("init_lora_weights", json!(true)),
            ("layers_pattern", Value::Null),
            ("layers_to_transform", json!(config.layers_to_transform)),
            ("lora_alpha", number(config.lora_alpha)),
            ("lora_dropout", json!(config.lora_dropout)),
            ("modules_to_save", Value::Null),
            ("peft_type", json!("LORA")),
            ("r", json!(config.r)),
            ("rank_pattern", Value::Object(ranks)),
            ("revision", json!(config.revision)),
            ("target_modules", config.target_modules.to_json()),
            ("task_type", json!("CAUSAL_LM")),
            ("use_dora", json!(config.use_dora)),
            ("use_rslora", json!(config.use_rslora)),
        ]);
        fields.map(|(k, v)| (k.to_string(), v)).collect()
    }
}
