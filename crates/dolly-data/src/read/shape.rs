//! Which columns give which field.
//!
//! The shapes that people have, and the names that each field goes by in them, in the order in which
//! they are asked; the first that the file has is taken, whatever stands in it:
//!
//! | field | Dolly and curated Dolly | Alpaca | prompt and completion | question and answer |
//! |---|---|---|---|---|
//! | instruction | `instruction`, `original-instruction` | `instruction` | `prompt` | `question` |
//! | context | `context`, `original-context` | `input` | | |
//! | response | `response`, `original-response` | `output` | `completion` | `answer` |
//!
//! Only the first two names of each field go together: where a file has both, the second is read
//! where the first is blank. `messages` (or `conversations`) goes before all of them where a record
//! has it.

use std::path::Path;

use super::options::FieldMap;
use crate::error::DataError;

/// The names of one field.
struct Wanted {
    field: &'static str,
    columns: &'static [&'static str],
    /// The curated set's rewritten texts.
    curated: &'static str,
    required: bool,
}

const FIELDS: [Wanted; 3] = [
    Wanted {
        field: "instruction",
        columns: &["instruction", "original-instruction", "prompt", "question"],
        curated: "new-instruction",
        required: true,
    },
    Wanted {
        field: "context",
        columns: &["context", "original-context", "input"],
        curated: "new-context",
        required: false,
    },
    Wanted {
        field: "response",
        columns: &[
            "response",
            "original-response",
            "output",
            "completion",
            "answer",
        ],
        curated: "new-response",
        required: true,
    },
];

const MESSAGES: [&str; 2] = ["messages", "conversations"];

/// Where one field is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// A column, and one to take where it is blank.
    pub(super) plain: [Option<String>; 2],
    /// The column of the curated texts.
    pub(super) curated: Option<String>,
}

/// Where all fields are read.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    map: FieldMap,
    /// Instruction, context, response.
    pub(super) fields: [Place; 3],
    pub(super) messages: Option<String>,
    pub(super) id: String,
    pub(super) category: String,
}

impl Shape {
    pub(super) fn new(map: &FieldMap) -> Self {
        let named = |field: &str| map.column(field).unwrap_or(field).to_owned();
        let mut shape = Self {
            fields: Default::default(),
            messages: None,
            id: named("id"),
            category: named("category"),
            map: map.clone(),
        };
        shape.settle(&[]);
        shape
    }

    /// Decides where each field is read, from the columns there are.
    pub(super) fn settle(&mut self, columns: &[String]) {
        let has = |name: &&str| columns.iter().any(|column| column == name);
        for (place, names) in self.fields.iter_mut().zip(&FIELDS) {
            *place = if let Some(column) = self.map.column(names.field) {
                Place {
                    plain: [Some(column.to_owned()), None],
                    curated: None,
                }
            } else {
                let first = names.columns.iter().copied().find(has);
                let both = first == Some(names.columns[0]);
                let second = names.columns.get(1).copied().filter(|_| both);
                Place {
                    plain: [first, second].map(|name| name.map(str::to_owned)),
                    curated: Some(names.curated.to_owned()),
                }
            };
        }
        let mapped = self.map.column("messages");
        let messages = mapped.or_else(|| MESSAGES.iter().copied().find(has));
        self.messages = messages.map(str::to_owned);
    }

    /// Fails where a mapped column is missing, or where none gives the instruction or the response.
    pub(super) fn check(&self, path: &Path, columns: &[String]) -> Result<(), DataError> {
        let has = |name: &str| columns.iter().any(|column| column == name);
        let found = || columns.join(", ");
        if let Some(column) = self.map.columns().find(|column| !has(column)) {
            return Err(DataError::UnknownColumn {
                path: path.to_path_buf(),
                column: column.to_owned(),
                found: found(),
            });
        }
        if self.map.column("messages").is_some() || MESSAGES.into_iter().any(has) {
            return Ok(());
        }
        let given = |names: &Wanted| {
            self.map.column(names.field).is_some()
                || names.columns.iter().any(|name| has(name))
                || has(names.curated)
        };
        let missing = FIELDS
            .iter()
            .filter(|names| names.required && !given(names));
        let missing: Vec<&str> = missing.map(|names| names.field).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(DataError::MissingColumns {
            path: path.to_path_buf(),
            missing: missing.join(" and "),
            found: found(),
        })
    }
}
