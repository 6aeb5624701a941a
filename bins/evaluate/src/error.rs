//! What can be wrong with a file of predictions.

use std::path::PathBuf;

const NEED: &str = "each line must be a JSON object with the strings `gold` and `prediction`, as \
                    `generate` writes them; other names are given with --gold-field and --prediction-field";

/// A file of predictions that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PredictionError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}; check the path", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file has bytes that are no UTF-8.
    #[error("{}, line {line}: invalid UTF-8; save the file as UTF-8", path.display())]
    Utf8 {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// The file has no row.
    #[error("{}: no rows, only blank lines or nothing at all; {NEED}", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A line is no JSON, or lacks something.
    #[error("{}, line {line}: {what}; {NEED}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
}
