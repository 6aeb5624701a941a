//! Fine-tune with LoRA
