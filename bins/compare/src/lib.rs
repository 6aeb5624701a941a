//! Compare predictions row by row
