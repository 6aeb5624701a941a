//! SmolLM2 (Llama architecture): weights, differentiable forward, ragged batches, generation
