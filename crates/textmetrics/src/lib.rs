//! Scores for generated answers: exact match, relaxed match, token F1, ROUGE, and whether a
//! difference between two systems means anything.
//!
//! The decision this crate embodies: *a score is a definition, not an implementation detail*. Two
//! programs that both say "ROUGE-L" differ by several points, because one stems, one splits lines,
//! one lower-cases by another Unicode version. So every number here equals, to the last bit, the
//! number of a named reference: `rouge_score` 0.1.2 with `nltk`'s stemmer for ROUGE, and Python's
//! own idea of letters and white space for the rest. Labels say what a column is: the default ROUGE
//! column is `rougeLsum` with stemming, and plain ROUGE-L stands beside it.
//!
//! | concern | here |
//! |---|---|
//! | the normal form of an answer | [`normalize()`], [`unicode`] |
//! | one row, many rows | [`score_row`], [`score_rows`], [`Scorer`] |
//! | means that merge exactly | [`Summary`], [`Scores`], [`Metrics`] |
//! | ROUGE alone | [`rouge`] |
//! | the stemmer alone | [`porter`] |
//! | before against after | [`stats`] |
//!
//! It is quick because text is turned into small integers once: a word's stem is looked up, not
//! computed again, and the longest common subsequence works on 64 cells at a time.
//!
//! ```
//! use textmetrics::{ScoreOptions, Summary, score_rows};
//!
//! let rows = [("Paris", "The capital is Paris."), ("four cats", "Four cats.")];
//! let options = ScoreOptions::default();
//! let scored = score_rows(&rows, &options, |row| (row.0, row.1));
//! let scores = scored.iter().collect::<Summary>().scores(&options);
//! assert_eq!(scores.all.n, 2);
//! assert_eq!(scores.all.em, Some(0.5));
//! assert_eq!(scores.all.relaxed, Some(1.0));
//! ```
#![forbid(unsafe_code)]

mod answer;
mod intern;
pub mod metrics;
mod ngrams;
mod normalize;
pub mod porter;
pub mod rouge;
mod score;
pub mod stats;
mod summary;
pub mod unicode;
mod unit_sum;

pub use normalize::normalize;
pub use score::{Compat, Metric, RowScore, ScoreOptions, Scorer, score_row, score_rows};
pub use summary::{Metrics, Scores, Summary};
