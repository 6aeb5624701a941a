//! Read instruction data and split it with a seed
