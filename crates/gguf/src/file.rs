//! A GGUF file on disk, mapped.

use std::fs::File;
use std::io::{Error, ErrorKind};
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

use crate::error::{GgufError, Problem};
use crate::header::{Header, TensorInfo};

/// An open GGUF file: its [`Header`] (which it dereferences to) and its mapped bytes.
#[derive(Debug)]
pub struct GgufFile {
    header: Header,
    bytes: Mmap,
}

impl GgufFile {
    /// Opens and checks a file: structure, types, and that every tensor's bytes are there.
    ///
    /// # Errors
    /// With the path, and what was found and expected where. A file cut off in the middle of its
    /// data is refused here, before any work is spent on it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, GgufError> {
        let path = path.as_ref();
        let at_path = |problem| GgufError::new(Some(path), problem);
        let file = open_regular(path).map_err(|e| at_path(Problem::Io(e)))?;
        let bytes = map(&file).map_err(|e| at_path(Problem::Io(e)))?;
        let header = Header::parse_from(&bytes, Some(path))?;
        let file = Self { header, bytes };
        for tensor in file.tensors() {
            file.tensor_bytes(tensor)?;
        }
        Ok(file)
    }

    /// Parses a header from memory: the same as [`Header::parse`].
    ///
    /// # Errors
    /// Any [`Problem`] of structure.
    pub fn parse(bytes: &[u8]) -> Result<Header, GgufError> {
        Header::parse(bytes)
    }

    /// The path this file was opened at.
    pub fn path(&self) -> Option<&Path> {
        self.header.origin.as_deref()
    }

    /// The header alone.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// A tensor's bytes, blocks as stored.
    ///
    /// # Errors
    /// If they do not lie within the file (a [`TensorInfo`] of another file, for example).
    pub fn tensor_bytes(&self, tensor: &TensorInfo) -> Result<&[u8], GgufError> {
        let end = tensor.offset.checked_add(tensor.n_bytes);
        end.and_then(|end| self.bytes.get(tensor.offset..end))
            .ok_or_else(|| {
                let start = tensor.offset as u64;
                let problem = Problem::TensorBytes {
                    tensor: tensor.name.clone(),
                    start,
                    end: start.saturating_add(tensor.n_bytes as u64),
                    have: self.bytes.len(),
                };
                GgufError::new(self.path(), problem)
            })
    }
}

impl Deref for GgufFile {
    type Target = Header;

    fn deref(&self) -> &Header {
        &self.header
    }
}

/// Opens a file that can be mapped. Asked before it is opened, since opening a pipe would wait for
/// its other end.
fn open_regular(path: &Path) -> std::io::Result<File> {
    if std::fs::metadata(path)?.is_file() {
        return File::open(path);
    }
    Err(Error::new(
        ErrorKind::InvalidInput,
        "it is not a regular file",
    ))
}

#[allow(unsafe_code, reason = "mapping is the one thing here that needs it")]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is private to `GgufFile` and only read. What remains is that another process
    // changes or shortens the file meanwhile, which no reader can rule out: model files are
    // written once, and every mapping reader (llama.cpp, safetensors) relies on it as we do.
    unsafe { Mmap::map(file) }
}
