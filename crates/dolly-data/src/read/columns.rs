//! Which columns give which field.

use std::path::Path;

use crate::error::DataError;

/// The columns of one field, in the order in which they are asked.
pub(super) struct FieldColumns {
    pub(super) name: &'static str,
    /// Dolly's own column, then the curated set's copy of it.
    pub(super) original: [&'static str; 2],
    /// The curated set's rewritten texts.
    pub(super) curated: &'static str,
    required: bool,
}

pub(super) const INSTRUCTION: FieldColumns = FieldColumns {
    name: "instruction",
    original: ["instruction", "original-instruction"],
    curated: "new-instruction",
    required: true,
};
pub(super) const CONTEXT: FieldColumns = FieldColumns {
    name: "context",
    original: ["context", "original-context"],
    curated: "new-context",
    required: false,
};
pub(super) const RESPONSE: FieldColumns = FieldColumns {
    name: "response",
    original: ["response", "original-response"],
    curated: "new-response",
    required: true,
};

/// Fails unless some column gives the instruction and some column the response.
pub(super) fn check(path: &Path, found: &[String]) -> Result<(), DataError> {
    let has = |name: &str| found.iter().any(|column| column == name);
    let missing: Vec<&str> = [INSTRUCTION, CONTEXT, RESPONSE]
        .iter()
        .filter(|f| f.required && !f.original.into_iter().any(has) && !has(f.curated))
        .map(|f| f.name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(DataError::MissingColumns {
        path: path.to_path_buf(),
        missing: missing.join(" and "),
        found: found.join(", "),
    })
}
