//! A little-endian reader that cannot step outside its bytes.

use std::fmt;

use crate::error::Problem;

/// What is being read, for error messages; formatted only when there is an error.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    Header,
    KeyName(u64),
    Value(&'a str),
    TensorName(u64),
    Tensor(&'a str),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => write!(f, "the file header"),
            Self::KeyName(i) => write!(f, "the name of metadata key {i} (from 0)"),
            Self::Value(key) => write!(f, "the value of key `{key}`"),
            Self::TensorName(i) => write!(f, "the name of tensor {i} (from 0)"),
            Self::Tensor(name) => write!(f, "the description of tensor `{name}`"),
        }
    }
}

pub(crate) struct Cursor<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Cursor<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `n` bytes.
    pub(crate) fn take(&mut self, n: u64, place: Place<'_>) -> Result<&'b [u8], Problem> {
        let slice = usize::try_from(n)
            .ok()
            .and_then(|n| self.at.checked_add(n))
            .and_then(|end| self.bytes.get(self.at..end));
        let Some(slice) = slice else {
            return Err(self.truncated(n, place));
        };
        self.at += slice.len();
        Ok(slice)
    }

    fn truncated(&self, need: u64, place: Place<'_>) -> Problem {
        let (offset, have) = (self.at, self.remaining());
        Problem::Truncated {
            place: place.to_string(),
            offset,
            need,
            have,
        }
    }

    fn array<const N: usize>(&mut self, place: Place<'_>) -> Result<[u8; N], Problem> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64, place)?);
        Ok(out)
    }

    pub(crate) fn u32(&mut self, place: Place<'_>) -> Result<u32, Problem> {
        Ok(u32::from_le_bytes(self.array(place)?))
    }

    pub(crate) fn u64(&mut self, place: Place<'_>) -> Result<u64, Problem> {
        Ok(u64::from_le_bytes(self.array(place)?))
    }

    /// A count of things that take at least `min_size` bytes each. A count that the rest of the
    /// file cannot hold is refused here, before anything is allocated for it.
    pub(crate) fn check_count(
        &self,
        count: u64,
        min_size: u64,
        place: Place<'_>,
    ) -> Result<usize, Problem> {
        let need = count.saturating_mul(min_size);
        match usize::try_from(count) {
            Ok(n) if need <= self.remaining() as u64 => Ok(n),
            _ => Err(self.truncated(need, place)),
        }
    }

    /// A string: u64 length, then UTF-8 bytes.
    pub(crate) fn string(&mut self, place: Place<'_>) -> Result<String, Problem> {
        let len = self.u64(place)?;
        let offset = self.at;
        let bytes = self.take(len, place)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(e) => {
                let offset = offset + e.valid_up_to();
                Err(Problem::Utf8 {
                    place: place.to_string(),
                    offset,
                })
            }
        }
    }

    /// `n` fixed-size items converted by `read`.
    pub(crate) fn items<const N: usize, T>(
        &mut self,
        n: usize,
        place: Place<'_>,
        read: fn([u8; N]) -> T,
    ) -> Result<Vec<T>, Problem> {
        let bytes = self.take((n as u64).saturating_mul(N as u64), place)?;
        let (chunks, _) = bytes.as_chunks::<N>();
        Ok(chunks.iter().map(|chunk| read(*chunk)).collect())
    }

    /// One fixed-size item converted by `read`.
    pub(crate) fn item<const N: usize, T>(
        &mut self,
        place: Place<'_>,
        read: fn([u8; N]) -> T,
    ) -> Result<T, Problem> {
        Ok(read(self.array(place)?))
    }
}
