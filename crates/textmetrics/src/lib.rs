//! Scores for generated answers: exact match, relaxed match, token F1, ROUGE, BLEU, chrF, `SQuAD`
//! and more by name, and whether a difference between two systems means anything.
//!
//! The decision this crate embodies: *a score is a definition, not an implementation detail*. Two
//! programs that both say "ROUGE-L" differ by several points, because one stems, one splits lines,
//! one lower-cases by another Unicode version. So every number here equals, to the last bit, the
//! number of a named reference: `rouge_score` 0.1.2 with `nltk`'s stemmer for ROUGE, and Python's
//! own idea of letters and white space for the rest; sacreBLEU for BLEU and chrF. Labels say what a column is: the default ROUGE
//! column is `rougeLsum` with stemming, and plain ROUGE-L stands beside it.
//!
//! | concern | here |
//! |---|---|
//! | the normal form of an answer | [`normalize()`], [`unicode`] |
//! | one row, many rows | [`score_row`], [`score_rows`], [`Scorer`] |
//! | means that merge exactly | [`Summary`], [`Scores`], [`Metrics`] |
//! | any metric by name, with a signature and statistics that merge | [`metrics`] |
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
//!
//! Two systems that answered the same questions, from another project:
//!
//! ```
//! use textmetrics::stats::{CompareOptions, compare_rows};
//! use textmetrics::{ScoreOptions, metrics, score_rows};
//!
//! let gold = ["Paris", "four", "blue", "a dog", "1969"];
//! let before = ["London", "four", "red", "cat", "in 1970"];
//! let after = ["Paris", "four", "blue", "the dog", "1969"];
//! let score = |answers: &[&'static str; 5]| {
//!     let rows: Vec<_> = gold.into_iter().zip(*answers).collect();
//!     score_rows(&rows, &ScoreOptions::default(), |row| *row)
//! };
//! let compared = compare_rows(&score(&before), &score(&after), &CompareOptions::default())?;
//! println!("{}", compared.all.says); // cannot tell from 5 rows: about …
//! let rows: Vec<_> = gold.into_iter().zip(after).collect();
//! let chrf = metrics::measure("chrf++", &rows, |row| (vec![row.0], row.1))?;
//! println!("{:.1} ({})", chrf.score.unwrap_or(0.0), chrf.signature);
//! # Ok::<(), Box<dyn std::error::Error>>(())
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
