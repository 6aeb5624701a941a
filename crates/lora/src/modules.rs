//! How PEFT names modules: by lists of name endings and by regular expressions.
//!
//! Source: `check_target_module_exists` (`peft/tuners/tuners_utils.py`) and `get_pattern_key`
//! (`peft/utils/other.py`), 0.21.2. A module is known by its path in the base model, such as
//! `model.layers.3.self_attn.q_proj`.

use crate::error::LoraError;
use fancy_regex::Regex;
use serde_json::Value;
use smollm_model::Site;
use std::fmt;

/// A regular expression with Python's features (look-around, back-references), by its text.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    text: String,
    regex: Regex,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, self.regex.as_str()) == (&other.text, other.regex.as_str())
    }
}

impl Pattern {
    /// One that must match a whole path, as Python's `re.fullmatch`.
    pub(crate) fn whole(field: &'static str, text: &str) -> Result<Self, LoraError> {
        Self::new(field, text, &format!(r"\A(?:{text})\z"))
    }

    /// One that must match the end of a path from some dot on, as `get_pattern_key` does.
    pub(crate) fn ending(field: &'static str, text: &str) -> Result<Self, LoraError> {
        Self::new(field, text, &format!(r"\A(.*\.)?({text})\z"))
    }

    fn new(field: &'static str, text: &str, full: &str) -> Result<Self, LoraError> {
        let regex = Regex::new(full).map_err(|source| LoraError::Regex {
            field,
            text: text.into(),
            source: Box::new(source),
        })?;
        let text = text.to_owned();
        Ok(Self { text, regex })
    }

    pub(crate) fn matches(&self, field: &'static str, path: &str) -> Result<bool, LoraError> {
        let found = self.regex.is_match(path);
        found.map_err(|source| LoraError::Regex {
            field,
            text: self.text.clone(),
            source: Box::new(source),
        })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

/// Modules to leave out (`exclude_modules`): paths that end in one of the names, or that a regular
/// expression matches whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Modules(Kind);

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Endings(Vec<String>),
    Whole(Pattern),
}

const EXCLUDE: &str = "exclude_modules";

impl Modules {
    /// Modules whose path is one of these names or ends in one, from a dot on.
    pub fn ending_in(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self(Kind::Endings(names.into_iter().map(Into::into).collect()))
    }

    /// Modules whose whole path the expression matches.
    ///
    /// # Errors
    /// It is no regular expression.
    pub fn matching(text: &str) -> Result<Self, LoraError> {
        Ok(Self(Kind::Whole(Pattern::whole(EXCLUDE, text)?)))
    }

    /// Whether a module is among them.
    ///
    /// # Errors
    /// The regular expression takes too long on this path.
    pub fn matches(&self, site: Site) -> Result<bool, LoraError> {
        let path = site.path();
        match &self.0 {
            Kind::Endings(names) => Ok(names.iter().any(|name| ends_in(&path, name))),
            Kind::Whole(pattern) => pattern.matches(EXCLUDE, &path),
        }
    }

    pub(crate) fn from_json(value: Option<&Value>) -> Result<Option<Self>, LoraError> {
        let refuse = |value: &Value| LoraError::Field {
            field: EXCLUDE,
            found: value.to_string(),
            expected: "null, a list of names, or a regular expression",
        };
        match value {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Self::matching(text).map(Some),
            Some(Value::Array(names)) if names.is_empty() => Ok(None),
            Some(all @ Value::Array(names)) => {
                let names: Option<Vec<&str>> = names.iter().map(Value::as_str).collect();
                let names = names.ok_or_else(|| refuse(all))?;
                Ok(Some(Self::ending_in(names)))
            }
            Some(other) => Err(refuse(other)),
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        match &self.0 {
            Kind::Endings(names) => names.iter().map(|n| Value::from(n.as_str())).collect(),
            Kind::Whole(pattern) => Value::from(pattern.text()),
        }
    }
}

impl std::str::FromStr for Modules {
    type Err = LoraError;

    /// Names separated by commas, or a regular expression.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if looks_like_a_regex(text) {
            Self::matching(text)
        } else {
            Ok(Self::ending_in(text.split(',').map(str::trim)))
        }
    }
}

impl fmt::Display for Modules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Endings(names) => f.write_str(&names.join(",")),
            Kind::Whole(pattern) => f.write_str(pattern.text()),
        }
    }
}

/// PEFT's `key == name or key.endswith("." + name)`.
pub(crate) fn ends_in(path: &str, name: &str) -> bool {
    path.strip_suffix(name)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Whether a text on a command line is meant as an expression: names have none of these.
pub(crate) fn looks_like_a_regex(text: &str) -> bool {
    text.contains(|c| r"*+?()[]{}|^$\".contains(c))
}

/// A value for some modules instead of the config's own (`rank_pattern`, `alpha_pattern`): the first
/// expression that matches the end of a module's path decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Overrides<T>(Vec<(Pattern, T)>);

impl<T> Default for Overrides<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy> Overrides<T> {
    /// From expressions and values, in order; `field` is the config's field they are for.
    ///
    /// # Errors
    /// One of them is no regular expression.
    pub fn new<'a>(
        field: &'static str,
        pairs: impl IntoIterator<Item = (&'a str, T)>,
    ) -> Result<Self, LoraError> {
        let pairs = pairs.into_iter().map(|(text, value)| {
            let pattern = Pattern::ending(field, text)?;
            Ok((pattern, value))
        });
        Ok(Self(pairs.collect::<Result<_, LoraError>>()?))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Expressions and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, T)> {
        self.0
            .iter()
            .map(|(pattern, value)| (pattern.text(), *value))
    }

    /// The value for a module, if one of the expressions matches it.
    pub(crate) fn get(&self, field: &'static str, path: &str) -> Result<Option<T>, LoraError> {
        for (pattern, value) in &self.0 {
            if pattern.matches(field, path)? {
                return Ok(Some(*value));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smollm_model::Projection;

    #[test]
    fn the_first_expression_that_matches_decides() {
        let ranks = [(r"layers\.0\..*", 2), ("q_proj", 4), ("(q|k)_proj", 8)];
        let ranks = Overrides::new("rank_pattern", ranks).unwrap();
        let of = |layer, projection| {
            let path = Site::new(layer, projection).path();
            ranks.get("rank_pattern", &path).unwrap()
        };
        assert_eq!(of(0, Projection::Q), Some(2));
        assert_eq!(of(1, Projection::Q), Some(4));
        assert_eq!(of(1, Projection::K), Some(8));
        assert_eq!(of(1, Projection::V), None);
    }

    #[test]
    fn names_are_endings_and_expressions_match_whole_paths() {
        let site = Site::new(3, Projection::Q);
        let of = |text: &str| text.parse::<Modules>().unwrap().matches(site).unwrap();
        assert!(
            of("q_proj") && of("k_proj, self_attn.q_proj") && of("model.layers.3.self_attn.q_proj")
        );
        assert!(!of("proj") && !of("3") && !of("layers.13.self_attn.q_proj"));
        assert!(of(r".*\.(q|v)_proj") && of(r"model\.layers\.(?!2)\d\..*"));
        assert!(!of("(q|v)_proj"), "it must match the whole path");
        assert!(
            "(".parse::<Modules>()
                .unwrap_err()
                .to_string()
                .contains("exclude_modules")
        );
    }
}
