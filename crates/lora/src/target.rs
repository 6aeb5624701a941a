//! Which of a block's seven projections carry an adapter.

use crate::error::LoraError;
use serde_json::Value;
use smollm_model::Projection;
use std::fmt;
use std::str::FromStr;

/// A non-empty set of projections, in the order of [`Projection::ALL`].
///
/// Written as names separated by commas, or `all-linear` for all seven. (PEFT's `all-linear` means
/// the same: every linear layer but the output head.)
///
/// ```
/// use lora::TargetModules;
///
/// let targets: TargetModules = "v_proj, q_proj".parse()?;
/// assert_eq!(targets.to_string(), "q_proj,v_proj");
/// assert_eq!("all-linear".parse::<TargetModules>()?.len(), 7);
/// # Ok::<(), lora::LoraError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetModules(Vec<Projection>);

impl TargetModules {
    /// All seven projections.
    pub fn all_linear() -> Self {
        Self(Projection::ALL.to_vec())
    }

    /// The four projections of attention.
    pub fn attention() -> Self {
        Self(vec![
            Projection::Q,
            Projection::K,
            Projection::V,
            Projection::O,
        ])
    }

    /// The set with these names.
    ///
    /// # Errors
    /// An unknown name, or none at all.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, LoraError> {
        let mut wanted = [false; Projection::ALL.len()];
        for name in names {
            let place = Projection::ALL.iter().position(|p| p.name() == name);
            let place = place.ok_or_else(|| LoraError::Target { name: name.into() })?;
            wanted[place] = true;
        }
        let chosen: Vec<_> = Projection::ALL
            .into_iter()
            .zip(wanted)
            .filter_map(|(projection, wanted)| wanted.then_some(projection))
            .collect();
        if chosen.is_empty() {
            return Err(LoraError::Target {
                name: String::new(),
            });
        }
        Ok(Self(chosen))
    }

    /// The projections, in the order of [`Projection::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = Projection> + '_ {
        self.0.iter().copied()
    }

    /// Whether a projection is in the set.
    pub fn contains(&self, projection: Projection) -> bool {
        self.0.contains(&projection)
    }

    /// How many projections there are.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn from_json(value: Option<&Value>) -> Result<Self, LoraError> {
        const EXPECTED: &str = "a list of projection names, or \"all-linear\"";
        let refuse = |value: Option<&Value>| LoraError::Field {
            field: "target_modules",
            found: value.map_or_else(|| "missing".into(), ToString::to_string),
            expected: EXPECTED,
        };
        match value {
            Some(Value::String(text)) if text == "all-linear" => Ok(Self::all_linear()),
            // Any other string is a regular expression to PEFT; a bare name is the one we can honour.
            Some(Value::String(text)) => Self::from_names([text.as_str()]),
            Some(Value::Array(names)) => {
                let names: Option<Vec<&str>> = names.iter().map(Value::as_str).collect();
                Self::from_names(names.ok_or_else(|| refuse(value))?)
            }
            other => Err(refuse(other)),
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        self.iter().map(|p| Value::from(p.name())).collect()
    }
}

impl FromStr for TargetModules {
    type Err = LoraError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "all-linear" => Ok(Self::all_linear()),
            list => Self::from_names(list.split(',').map(str::trim)),
        }
    }
}

impl fmt::Display for TargetModules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Projection::name).collect();
        f.write_str(&names.join(","))
    }
}
