//! Rows of instructions and answers, and where they come from.
//!
//! Fine-tuning goes wrong in the data long before it goes wrong in the numbers: a split that
//! nobody can repeat, a fallback column that was never parsed, a blank row that silently shifts
//! every row after it. This crate embodies five decisions against that.
//!
//! 1. **A source is everything that was in the file.** [`read_source`] keeps unusable records in
//!    their place; only a *view* of them ([`Source::rows`]) leaves records out, and it returns what
//!    it left out and why. Nothing disappears uncounted.
//! 2. **A split is over the source as read.** [`Source::split`] draws from
//!    `numpy.random.default_rng(seed).permutation(n)`, reproduced exactly ([`permutation`]), so the
//!    published split of Dolly comes out id by id, and whoever has NumPy can check ours.
//! 3. **Text is data, not something to tidy.** No trimming, no normalising. White space only decides
//!    whether a text is *blank*.
//! 4. **Bad input is an error with a file, a line and a remedy** ([`DataError`]), never a guess.
//! 5. **What a test set has lost to training is measured.** [`LeakAudit`] finds exact, normalised and
//!    near duplicates, shared contexts and answers that stand in training contexts, within and between
//!    the sets; [`flag`] marks them and [`drop_leaks`] removes them from training, never from the test.
//!
//! It reads CSV, JSON and Parquet with Dolly's own columns, with those of
//! `argilla/databricks-dolly-15k-curated-en` (whose `new-*` cells are NumPy reprs in CSV exports), with
//! those that other data sets have, and with conversations.
//! It depends on no tensor crate and no network; the feature `hub` adds downloads.
//!
//! ```
//! use dolly_data::{Size, SplitSpec, read_source, write_jsonl};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let dir = std::env::temp_dir().join("dolly-data-example");
//!     std::fs::create_dir_all(&dir)?;
//!     let file = dir.join("questions.csv");
//!     std::fs::write(
//!         &file,
//!         "instruction,context,response\nWhat is a tuba?,,A brass instrument.\nAnd a viola?,, \nWho?,It was Ada.,Ada.\n",
//!     )?;
//!
//!     let source = read_source(&file)?;
//!     assert_eq!(source.len(), 3);
//!     let loaded = source.rows()?;
//!     assert_eq!(loaded.rows[1].context.as_deref(), Some("It was Ada."));
//!     assert_eq!(loaded.dropped[0].reason.to_string(), "no response");
//!
//!     let spec = SplitSpec { test: Size::Rows(1), train: Size::Rest, ..SplitSpec::default() };
//!     let split = source.split(&spec)?;
//!     write_jsonl(&dir.join("train.jsonl"), &split.train.rows)?;
//!     Ok(())
//! }
//! ```

#![forbid(unsafe_code)]

mod error;
#[cfg(feature = "hub")]
pub mod hub;
mod leak;
mod numpy;
mod read;
mod row;
mod source;
mod split;
mod words;
mod write;

pub use error::DataError;
pub use leak::{
    DuplicateCounts, DuplicateGroup, Leak, LeakAudit, LeakCounts, LeakMatch, LeakOptions,
    LeakReport, drop_leaks, duplicates, flag, leaks,
};
pub use numpy::permutation;
pub use read::{FieldMap, FieldMapError, ReadOptions, RecordReader, open_records};
pub use row::{
    DropReason, Dropped, Field, LeakKind, Loaded, Record, Row, Submission, Turn, View, ViewError,
};
pub use source::{Format, Source, load_rows, read_parts, read_source, read_source_with};
pub use split::{FoldSpec, GroupBy, Part, Size, SizeError, Split, SplitSpec};
pub use write::{CSV_HEADER, write_csv, write_jsonl};

/// Keeps the README's example true.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
