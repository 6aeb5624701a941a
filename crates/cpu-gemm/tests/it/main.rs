//! The public interface: packing, errors, goldens, threads.

#![allow(clippy::unwrap_used)]

mod errors;
mod goldens;
mod products;
