//! Exact match, token F1, ROUGE and paired statistics for generated text
