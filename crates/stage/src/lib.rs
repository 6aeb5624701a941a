//! What every stage of Smoltune shares, and nothing else.
//!
//! A stage is a program that reads files, does one thing and writes files. The decision this
//! crate embodies: *how a stage talks to the world is decided once*. A person reads progress and
//! errors on standard error; a script reads exit codes and standard output; the next stage reads
//! files that are either whole or absent, each with a [`Manifest`] that says what it was made from.
//!
//! | concern | here |
//! |---|---|
//! | exit codes 0, 1, 2, 3, 130 | [`Exit`], [`StageError`], [`OrExit`], [`run_main`] |
//! | one JSON object on stdout | [`emit`], [`emit_json`] |
//! | a progress bar, or plain lines in a log | [`Progress`] |
//! | whole files only | [`write_json`], [`write_text`], [`create_folder`] |
//! | what an artefact was made from | [`Manifest`], [`FileRecord`], [`sha256_file`] |
//! | one system prompt in training and inference | [`system_prompt`] |
//! | Ctrl-C, once and twice | [`interrupt`] |
//!
//! It knows no models, no data formats and no tensors, so that stages which need none of these
//! (`evaluate`, `compare`) start in a millisecond.
//!
//! ```
//! use stage::{Exit, OrExit, StageError};
//!
//! fn rows(text: &str) -> Result<usize, StageError> {
//!     text.trim().parse::<usize>().or_bad_data()
//! }
//!
//! assert_eq!(rows("15").unwrap(), 15);
//! assert_eq!(rows("fifteen").unwrap_err().exit(), Exit::BadData);
//! ```
#![forbid(unsafe_code)]

mod error;
mod files;
pub mod interrupt;
mod manifest;
mod output;
mod progress;
mod run;
mod system;

pub use error::{Exit, OrExit, StageError};
pub use files::{
    TextFile, create_folder, sha256_bytes, sha256_file, write_bytes, write_json, write_text,
    write_with,
};
pub use manifest::{FileRecord, Manifest};
pub use output::{Results, emit, emit_json, send_results};
pub use progress::Progress;
pub use run::{finish, run_main};
pub use system::{SYSTEM_ARGUMENT, system_prompt};
