//! What was taken, and why nothing better was.

use serde::Serialize;

/// A model or a source of rows that quickstart settled on.
#[derive(Debug, Serialize)]
pub(super) struct Choice {
    /// What the stages are given: a hub id or a path.
    pub(super) value: String,
    /// What it is, in words.
    pub(super) what: String,
    /// Better choices that could not be had, and why.
    pub(super) instead_of: Vec<String>,
}

impl Choice {
    /// The user chose, by a flag or by a preset: `what` says by which.
    pub(super) fn asked_for(value: &str, what: &str) -> Self {
        Self {
            value: value.into(),
            what: what.into(),
            instead_of: Vec::new(),
        }
    }

    /// A line for each thing that failed after the line that says what was taken.
    pub(super) fn told(&self, kind: &str) -> String {
        let mut told = format!("{kind}: {} ({})", self.what, self.value);
        for missed in &self.instead_of {
            told.push_str("\n  because ");
            told.push_str(missed);
        }
        told
    }
}
