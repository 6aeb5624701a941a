//! What a user may say about a file.

use std::fmt;
use std::str::FromStr;

use crate::row::View;

/// How a file is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Columns of other names.
    pub map: FieldMap,
    /// Which texts of a curated source count.
    pub view: View,
}

/// Fields that may be mapped.
const FIELDS: [&str; 6] = [
    "id",
    "category",
    "instruction",
    "context",
    "response",
    "messages",
];

/// Which columns hold which fields, where they have other names than ours: parsed from
/// `instruction=question,response=answer`. A mapped field is read from its column alone.
///
/// ```
/// let map: dolly_data::FieldMap = "instruction=question, response=answer".parse()?;
/// assert_eq!(map.to_string(), "instruction=question,response=answer");
/// assert!("question=instruction".parse::<dolly_data::FieldMap>().is_err());
/// # Ok::<(), dolly_data::FieldMapError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldMap(Vec<(&'static str, String)>);

/// Text that is no [`FieldMap`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldMapError {
    /// A part without `=` or without a name on one side of it.
    #[error("found `{found}`, expected FIELD=COLUMN, such as instruction=question")]
    NoPair {
        /// The part.
        found: String,
    },
    /// A field that rows do not have.
    #[error("unknown field `{found}`; known are {}", FIELDS.join(", "))]
    UnknownField {
        /// The name.
        found: String,
    },
    /// A field that is mapped twice.
    #[error("field `{field}` is mapped twice")]
    Twice {
        /// The field.
        field: &'static str,
    },
}

impl FieldMap {
    /// The column of a field, if it is mapped.
    pub(crate) fn column(&self, field: &str) -> Option<&str> {
        let found = self.0.iter().find(|(name, _)| *name == field);
        found.map(|(_, column)| column.as_str())
    }

    /// Every column that is named.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(_, column)| column.as_str())
    }
}

impl FromStr for FieldMap {
    type Err = FieldMapError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut map = Self::default();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let pair = part
                .split_once('=')
                .map(|(field, column)| (field.trim(), column.trim()));
            let Some((field, column)) =
                pair.filter(|(field, column)| !field.is_empty() && !column.is_empty())
            else {
                return Err(FieldMapError::NoPair {
                    found: part.to_owned(),
                });
            };
            let Some(&field) = FIELDS.iter().find(|known| **known == field) else {
                return Err(FieldMapError::UnknownField {
                    found: field.to_owned(),
                });
            };
            if map.column(field).is_some() {
                return Err(FieldMapError::Twice { field });
            }
            map.0.push((field, column.to_owned()));
        }
        Ok(map)
    }
}

impl fmt::Display for FieldMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (field, column)) in self.0.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(f, "{comma}{field}={column}")?;
        }
        Ok(())
    }
}
