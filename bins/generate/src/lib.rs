//! Answer every row of a data file
