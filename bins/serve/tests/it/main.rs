//! The server over the tiny model: answers, refusals, and clients that misbehave.

#![allow(clippy::unwrap_used, reason = "a failed test is a panic")]

mod answers;
mod client;
mod load;
mod program;
mod refusals;
mod rig;
mod shutdown;
mod streams;
