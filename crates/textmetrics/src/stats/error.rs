//! What can be wrong with the numbers a caller hands in.

use thiserror::Error;

/// Why a statistic cannot be computed from what was given.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum StatsError {
    /// There are too few rows to look at.
    #[error("{what}: too few rows; at least {needed} needed")]
    TooFewRows {
        /// The metric or statistic concerned.
        what: String,
        /// How many rows it needs.
        needed: usize,
    },
    /// The two systems have different numbers of rows, so they are not paired.
    #[error(
        "metric {metric}: {before} rows before against {after} rows after; pair the rows first (same rows, same order)"
    )]
    LengthMismatch {
        /// The metric concerned.
        metric: String,
        /// Rows of the first system.
        before: usize,
        /// Rows of the second system.
        after: usize,
    },
    /// Metrics of one comparison disagree on the number of rows.
    #[error("metric {metric} has {found} rows, but the metrics before it have {expected}")]
    UnevenMetrics {
        /// The metric concerned.
        metric: String,
        /// Its number of rows.
        found: usize,
        /// The number of rows of the first metric.
        expected: usize,
    },
    /// A NaN or an infinity where a score should be.
    #[error("{what}, row {row} (from 0): found {value}, expected a finite number")]
    NotFinite {
        /// The metric or statistic concerned.
        what: String,
        /// Row index, from 0.
        row: usize,
        /// What was found.
        value: f64,
    },
    /// A value outside the scale that the metric's kind promises.
    #[error("metric {metric}, row {row} (from 0): found {value}, expected {expected}")]
    OffScale {
        /// The metric concerned.
        metric: String,
        /// Row index, from 0.
        row: usize,
        /// What was found.
        value: f64,
        /// What the kind of metric promises.
        expected: &'static str,
    },
    /// A probability, level or size outside its range.
    #[error("{name} is {value}, expected {expected}")]
    BadParameter {
        /// Name of the parameter.
        name: &'static str,
        /// What was found.
        value: f64,
        /// What is accepted.
        expected: &'static str,
    },
}

/// Fails unless every value is finite.
pub(super) fn all_finite(what: &str, values: &[f64]) -> Result<(), StatsError> {
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(row) => Err(StatsError::NotFinite {
            what: what.into(),
            row,
            value: values[row],
        }),
    }
}

/// Fails unless `value` lies strictly between 0 and 1.
pub(super) fn open_unit(name: &'static str, value: f64) -> Result<(), StatsError> {
    if value > 0.0 && value < 1.0 {
        return Ok(());
    }
    Err(StatsError::BadParameter {
        name,
        value,
        expected: "a number between 0 and 1, both excluded",
    })
}
