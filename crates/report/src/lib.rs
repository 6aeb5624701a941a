//! One HTML page that says whether the second system is better, how sure that is, and shows every
//! row.
//!
//! The decision this crate embodies: *a report is one file that will still open in ten years*. It
//! has no link to another host, no font and no image of its own: text, one style sheet, drawings as
//! inline SVG, and one small script for the list of rows, without which the rest still reads. So it
//! can be mailed, attached to a pull request, printed, and read without a network.
//!
//! It computes nothing: figures come from [`textmetrics::stats`], texts and scores from the caller,
//! and [`render`] lays them out. Every text is written by a model or taken from a data set, so all
//! of it is untrusted and escaped; a page cannot be made to run anything else, for its own content
//! security policy allows our script by its hash and no other. [`render_markdown`] gives the same in
//! short for a pull request.
//!
//! ```
//! use report::{ReportData, ReportRow, render};
//! use report::textmetrics::stats::{CompareOptions, compare_rows};
//! use report::textmetrics::{ScoreOptions, score_row};
//!
//! let score_options = ScoreOptions::default();
//! let score = |prediction| score_row("Paris", prediction, &score_options);
//! let row = ReportRow {
//!     id: Some("1".into()),
//!     instruction: "Capital of France?".into(),
//!     context: None,
//!     gold: "Paris".into(),
//!     before: "Rome".into(),
//!     after: "<b>Paris</b>".into(),
//!     before_score: score("Rome"),
//!     after_score: score("<b>Paris</b>"),
//!     category: Some("capitals".into()),
//!     truncated: false,
//!     before_finish: None,
//!     after_finish: None,
//!     leak: None,
//! };
//! let options = CompareOptions::default();
//! use std::collections::BTreeMap;
//! let page = render(&ReportData {
//!     title: "Capitals".into(),
//!     before: "base".into(),
//!     after: "tuned".into(),
//!     identical: false,
//!     comparison: compare_rows(&[row.before_score], &[row.after_score], &options)?,
//!     options,
//!     score_options,
//!     length_control: BTreeMap::new(),
//!     noise_floor: BTreeMap::new(),
//!     rows: vec![row],
//!     training: vec![],
//!     elsewhere: None,
//!     provenance: vec![],
//!     notes: vec![],
//! });
//! assert!(page.starts_with("<!DOCTYPE html>"));
//! assert!(!page.contains("<b>Paris</b>"));
//! # Ok::<(), textmetrics::stats::StatsError>(())
//! ```
#![forbid(unsafe_code)]

mod data;
mod elsewhere;
mod embed;
mod figures;
mod format;
mod markdown;
mod marks;
mod page;
mod rows;
mod sweep;
mod table;

pub use data::{Elsewhere, Moved, Provenance, ReportData, ReportRow, TrainPoint};
pub use markdown::render_markdown;
pub use page::render;
pub use sweep::{SweepData, SweepRow, SweepTest, render_sweep};
/// Scores and statistics, whose types [`ReportData`] holds.
pub use textmetrics;
