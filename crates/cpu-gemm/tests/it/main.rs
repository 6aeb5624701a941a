//! The public interface: packing, errors, goldens, threads.

mod errors;
mod goldens;
mod products;
