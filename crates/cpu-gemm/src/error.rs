//! What can be wrong with a matrix that is to be packed.

use crate::format::Format;

/// Why a matrix cannot be packed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GemmError {
    /// A matrix without rows or columns.
    #[error("a matrix of {n} x {k} has no elements, expected at least one row and one column")]
    Empty {
        /// Rows.
        n: usize,
        /// Columns.
        k: usize,
    },
    /// A row is not a whole number of blocks.
    #[error(
        "rows of {k} elements are not whole blocks of {format}, expected a multiple of {multiple}; store this matrix as f32, bf16 or q8_0"
    )]
    Blocks {
        /// The format asked for.
        format: Format,
        /// Elements in a row.
        k: usize,
        /// What `k` must be a multiple of.
        multiple: usize,
    },
    /// Not as many elements or bytes as the shape says.
    #[error("a matrix of {n} x {k} in {format} has {expected} {unit}, found {found}")]
    Length {
        /// The format asked for.
        format: Format,
        /// Rows.
        n: usize,
        /// Columns.
        k: usize,
        /// `elements` or `bytes`.
        unit: &'static str,
        /// How many there should be.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// Numbers that do not fit into the address space.
    #[error("a matrix of {n} x {k} in {format} is larger than the address space")]
    TooLarge {
        /// The format asked for.
        format: Format,
        /// Rows.
        n: usize,
        /// Columns.
        k: usize,
    },
    /// The system has no memory left.
    #[error("no memory for {bytes} bytes of packed weights")]
    OutOfMemory {
        /// What was asked for.
        bytes: usize,
    },
    /// The permutation of the rows points past the matrix.
    #[error("row {row} of the packed matrix is to be row {source_row} of a matrix with {n} rows")]
    SourceRow {
        /// Row of the result.
        row: usize,
        /// Row that it should come from.
        source_row: usize,
        /// Rows that there are.
        n: usize,
    },
    /// There is no quantiser for this format.
    #[error(
        "floats cannot be quantised to {format} here, expected f32, bf16, q8_0, q4_0, q4_1, q5_0 or q5_1; blocks from a file can be packed"
    )]
    CannotQuantise {
        /// The format asked for.
        format: Format,
    },
    /// Nothing to stack.
    #[error("no matrices to stack")]
    NothingToStack,
    /// Matrices that do not fit onto each other.
    #[error(
        "matrix {index} of the stack is {n} x {k} in {format}, expected {expected_k} columns in {expected_format} and, but for the last, a multiple of 16 rows"
    )]
    Stack {
        /// Which one.
        index: usize,
        /// Its rows.
        n: usize,
        /// Its columns.
        k: usize,
        /// Its format.
        format: Format,
        /// Columns of the first one.
        expected_k: usize,
        /// Format of the first one.
        expected_format: Format,
    },
}
