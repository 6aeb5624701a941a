//! Instruction rows: read, view, split as NumPy does, write
