//! The crate from the outside. `fixtures/` holds a tiny model and what PEFT did with it.
#![allow(clippy::unwrap_used, reason = "in tests a panic is the report")]

mod checkpoints;
mod combining;
mod config;
mod dora;
mod files;
mod gradients;
mod hostile;
mod init;
mod merge;
mod neftune;
mod packed;
mod peft;
mod residual;
mod resume;
mod scorer;
mod skipping;
mod support;
mod training;
mod variants;
mod vocabulary;
