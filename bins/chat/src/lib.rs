//! Talk to a model in the terminal
