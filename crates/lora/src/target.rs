//! Which modules carry an adapter.

use crate::error::LoraError;
use crate::modules::{Pattern, ends_in, looks_like_a_regex};
use serde_json::Value;
use smollm_model::{Module, Projection, Site};
use std::fmt;
use std::str::FromStr;

const FIELD: &str = "target_modules";

/// PEFT's `target_modules`: modules by name, by the end of their path, or a regular expression that must match a
/// module's whole path.
///
/// Written as names separated by commas (the seven projections, `embed_tokens` and `lm_head`), as `all-linear` for all
/// seven projections (PEFT's `all-linear` means the same: every linear layer but the output head), or as the expression.
///
/// ```
/// use lora::{Site, TargetModules};
/// use smollm_model::Projection;
///
/// let targets: TargetModules = "v_proj, q_proj".parse()?;
/// assert_eq!(targets.to_string(), "q_proj,v_proj");
/// let odd: TargetModules = r".*layers\.\d*[13579]\..*_proj".parse()?;
/// assert!(odd.matches(Site::new(13, Projection::Up))?);
/// assert!(!odd.matches(Site::new(2, Projection::Up))?);
/// # Ok::<(), lora::LoraError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TargetModules(Kind);

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    /// Non-empty, in the order of [`Module::ALL`].
    Modules(Vec<Module>),
    /// Non-empty; each is the end of some module's path.
    Endings(Vec<String>),
    Whole(Pattern),
}

impl TargetModules {
    /// All seven projections.
    pub fn all_linear() -> Self {
        Self(Kind::Modules(Projection::ALL.map(Module::Linear).to_vec()))
    }

    /// The four projections of attention.
    pub fn attention() -> Self {
        let all = [Projection::Q, Projection::K, Projection::V, Projection::O];
        Self(Kind::Modules(all.map(Module::Linear).to_vec()))
    }

    /// Modules by name, or by the end of their path.
    ///
    /// # Errors
    /// A name that no module has, or none at all.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, LoraError> {
        let names: Vec<&str> = names.into_iter().collect();
        let unknown = |name: &str| LoraError::Target { name: name.into() };
        if names.is_empty() {
            return Err(unknown(""));
        }
        if let Some(name) = names.iter().find(|name| !may_be_an_ending(name)) {
            return Err(unknown(name));
        }
        let named = |module: &Module| names.contains(&module.name());
        if names.iter().all(|n| Module::from_name(n).is_some()) {
            let chosen = Module::ALL.into_iter().filter(named);
            return Ok(Self(Kind::Modules(chosen.collect())));
        }
        let names = names.into_iter().map(str::to_owned);
        Ok(Self(Kind::Endings(names.collect())))
    }

    /// The modules whose whole path a regular expression matches.
    ///
    /// # Errors
    /// It is no regular expression.
    pub fn matching(text: &str) -> Result<Self, LoraError> {
        Ok(Self(Kind::Whole(Pattern::whole(FIELD, text)?)))
    }

    /// Whether a module is a target.
    ///
    /// # Errors
    /// The regular expression takes too long on this path.
    pub fn matches(&self, site: Site) -> Result<bool, LoraError> {
        match &self.0 {
            Kind::Modules(all) => Ok(all.contains(&site.module())),
            Kind::Endings(names) => {
                let path = site.path();
                Ok(names.iter().any(|name| ends_in(&path, name)))
            }
            Kind::Whole(pattern) => pattern.matches(FIELD, &site.path()),
        }
    }

    /// Whether it is a regular expression, which PEFT does not combine with `layers_to_transform`.
    pub(crate) fn is_regex(&self) -> bool {
        matches!(self.0, Kind::Whole(_))
    }

    pub(crate) fn from_json(value: Option<&Value>) -> Result<Self, LoraError> {
        let refuse = |value: Option<&Value>| LoraError::Field {
            field: FIELD,
            found: value.map_or_else(|| "missing".into(), ToString::to_string),
            expected: "a list of names, \"all-linear\", or a regular expression",
        };
        match value {
            Some(Value::String(text)) if text == "all-linear" => Ok(Self::all_linear()),
            // To PEFT a bare name is an expression that matches nothing; what is meant is clear.
            Some(Value::String(text)) if !looks_like_a_regex(text) => {
                Self::from_names([text.as_str()])
            }
            Some(Value::String(text)) => Self::matching(text),
            Some(Value::Array(names)) => {
                let names: Option<Vec<&str>> = names.iter().map(Value::as_str).collect();
                Self::from_names(names.ok_or_else(|| refuse(value))?)
            }
            other => Err(refuse(other)),
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        match &self.0 {
            Kind::Modules(all) => all.iter().map(|m| Value::from(m.name())).collect(),
            Kind::Endings(names) => names.iter().map(|n| Value::from(n.as_str())).collect(),
            Kind::Whole(pattern) => Value::from(pattern.text()),
        }
    }
}

/// Whether some model has a module whose path ends in this name.
fn may_be_an_ending(name: &str) -> bool {
    let mut numbers = name.split('.').filter_map(|part| part.parse().ok());
    let layer = numbers.next_back().unwrap_or(0);
    let mut sites = Module::ALL.into_iter().map(|module| module.at(layer));
    sites.any(|site| ends_in(&site.path(), name))
}

impl FromStr for TargetModules {
    type Err = LoraError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "all-linear" => Ok(Self::all_linear()),
            text if looks_like_a_regex(text) => Self::matching(text),
            list => Self::from_names(list.split(',').map(str::trim)),
        }
    }
}

impl fmt::Display for TargetModules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Modules(all) => {
                let names: Vec<_> = all.iter().map(|m| m.name()).collect();
                f.write_str(&names.join(","))
            }
            Kind::Endings(names) => f.write_str(&names.join(",")),
            Kind::Whole(pattern) => f.write_str(pattern.text()),
        }
    }
}
