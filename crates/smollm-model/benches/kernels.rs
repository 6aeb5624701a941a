//! Kernels on a GPU.
fn main() {}
