//! Tests of the public interface, without any file outside the crate.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod by_name;
mod code_points;
mod golden;
mod length;
mod merging;
mod paired;
mod properties;
mod rouge_digest;
mod sacrebleu;
mod simulation;
mod squad;
