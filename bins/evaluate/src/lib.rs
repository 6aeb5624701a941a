//! Score predictions
