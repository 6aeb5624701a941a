//! LoRA adapters in PEFT's format, and a trainer that keeps the base frozen
