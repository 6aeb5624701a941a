//! What every stage of Smoltune shares: exit codes, progress, manifests, loading a model
