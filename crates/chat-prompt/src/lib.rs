//! Chat template, tokenizer and training rows with an exact label mask
