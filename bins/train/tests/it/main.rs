//! The stage as a program, on the tiny model and rows of `fixtures/`.
#![allow(clippy::unwrap_used, reason = "in tests a panic is the report")]

mod bad_input;
mod device;
mod generation;
mod init;
mod interrupt;
mod plan;
mod quantised;
mod resume;
mod runs;
mod support;
mod tensorboard;
mod terminal;
mod vocabulary;
