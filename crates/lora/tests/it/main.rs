//! The crate from the outside. `fixtures/` holds a tiny model and what PEFT did with it.

mod config;
mod files;
mod gradients;
mod merge;
mod peft;
mod support;
mod training;
