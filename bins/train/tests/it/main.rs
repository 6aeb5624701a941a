//! The stage as a program, on the tiny model and rows of `fixtures/`.

mod bad_input;
mod interrupt;
mod runs;
mod support;
