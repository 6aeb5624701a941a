//! What can be wrong with a GGUF file, said so that a person can act on it.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::types::GgmlType;

/// A [`Problem`] and, when it came from disk, the file it was found in.
#[derive(Debug, thiserror::Error)]
pub struct GgufError {
    path: Option<PathBuf>,
    problem: Box<Problem>,
}

impl GgufError {
    pub(crate) fn new(path: Option<&Path>, problem: Problem) -> Self {
        Self {
            path: path.map(Path::to_path_buf),
            problem: Box::new(problem),
        }
    }

    /// What is wrong.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The file, if the bytes came from one.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }
}

impl From<Problem> for GgufError {
    fn from(problem: Problem) -> Self {
        Self::new(None, problem)
    }
}

impl fmt::Display for GgufError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{}: ", path.display())?;
        }
        self.problem.fmt(f)
    }
}

/// The kinds of damage, disagreement or absence this reader reports.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file could not be opened or mapped.
    #[error("cannot read the file: {0}")]
    Io(std::io::Error),
    /// The first four bytes are not `GGUF`.
    #[error("not a GGUF file: it starts with {found:02x?}, expected the bytes of \"GGUF\"")]
    Magic {
        /// The bytes found; fewer than four in a shorter file.
        found: Vec<u8>,
    },
    /// A version other than 2 or 3, or a big-endian file.
    #[error("GGUF version {found} is not supported, expected 2 or 3{hint}")]
    Version {
        /// The version number as read in little-endian order.
        found: u32,
        /// An explanation, when the number gives one away.
        hint: &'static str,
    },
    /// The bytes end before the structure does.
    #[error(
        "the file is truncated or damaged: {place} at byte {offset} needs {need} bytes, {have} are \
         left; get the file again"
    )]
    Truncated {
        /// What was being read.
        place: String,
        /// Where, from the start of the file.
        offset: usize,
        /// Bytes that the structure claims to have from here.
        need: u64,
        /// Bytes that are there.
        have: usize,
    },
    /// A string is not UTF-8.
    #[error("{place} at byte {offset} is not valid UTF-8; the file is damaged")]
    Utf8 {
        /// What was being read.
        place: String,
        /// Where, from the start of the file.
        offset: usize,
    },
    /// A metadata value of a type that the format does not define.
    #[error("{place} has value type {found}, expected 0 to 12")]
    ValueType {
        /// What was being read.
        place: String,
        /// The type id found.
        found: u32,
    },
    /// Arrays nested deeper than any real file has them.
    #[error("{place} nests arrays deeper than {limit} levels")]
    Nesting {
        /// What was being read.
        place: String,
        /// The deepest nesting accepted.
        limit: usize,
    },
    /// A metadata key or a tensor name that occurs twice.
    #[error("{what} `{name}` occurs twice")]
    Duplicate {
        /// `key` or `tensor`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// `general.alignment` is not a power of two from 8 to 2^20.
    #[error("key `general.alignment` is {found}, expected a power of two from 8 to 1048576")]
    Alignment {
        /// The value found.
        found: u64,
    },
    /// A tensor of a type this reader has no block layout for.
    #[error(
        "tensor `{tensor}` has unknown type id {id}; known are {}",
        GgmlType::known_names()
    )]
    TensorType {
        /// The tensor.
        tensor: String,
        /// The type id found.
        id: u32,
    },
    /// A tensor shape that cannot be.
    #[error("tensor `{tensor}` has an impossible shape {dims:?} (innermost first): {why}")]
    Shape {
        /// The tensor.
        tensor: String,
        /// Its dimensions as stored, innermost first.
        dims: Vec<u64>,
        /// What is wrong with them.
        why: String,
    },
    /// A tensor offset that does not fit the alignment or the address space.
    #[error("tensor `{tensor}` starts at data offset {offset}, expected a multiple of {alignment}")]
    Offset {
        /// The tensor.
        tensor: String,
        /// The offset from the start of the data section.
        offset: u64,
        /// The file's alignment.
        alignment: usize,
    },
    /// A tensor's bytes lie outside the file.
    #[error(
        "tensor `{tensor}` needs bytes {start} to {end}, the file has {have}; it is truncated: get \
         it again"
    )]
    TensorBytes {
        /// The tensor.
        tensor: String,
        /// First byte, from the start of the file.
        start: u64,
        /// One past the last byte.
        end: u64,
        /// Length of the file.
        have: usize,
    },
    /// Two tensors share bytes: what the file holds is less than what it says it holds.
    #[error(
        "tensor `{tensor}` starts at byte {start}, inside tensor `{other}`, which ends at byte \
         {end}; tensors must not overlap"
    )]
    Overlap {
        /// The tensor that starts later.
        tensor: String,
        /// Its first byte, from the start of the file.
        start: usize,
        /// The tensor that it starts in.
        other: String,
        /// One past that tensor's last byte.
        end: usize,
    },
    /// A metadata key that the caller needs is absent.
    #[error("key `{key}` is missing, expected a value of type {expected}")]
    MissingKey {
        /// The key.
        key: String,
        /// The type wanted.
        expected: &'static str,
    },
    /// A metadata value has another type than the caller needs.
    #[error("key `{key}` has type {found}, expected {expected}")]
    WrongType {
        /// The key.
        key: String,
        /// The type found, with the value if it is a number.
        found: String,
        /// The type wanted.
        expected: &'static str,
    },
}
