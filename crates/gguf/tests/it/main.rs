//! Integration tests of the GGUF reader and writer.

#![allow(clippy::unwrap_used, reason = "a failed test is a panic")]

mod build;
mod damage;
mod golden;
mod never_panics;
mod writing;
