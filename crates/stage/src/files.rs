//! Files that are whole or absent.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use atomic_write_file::AtomicWriteFile;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::StageError;

/// SHA-256 of a file as 64 lower-case hex digits, read in pieces of 1 MiB.
///
/// # Errors
/// Any failure to read, with the path in the message.
pub fn sha256_file(path: &Path) -> io::Result<String> {
    let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
    let mut file = File::open(path).map_err(named)?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0_u8; 1 << 20];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(hex(&hasher.finalize())),
            Ok(n) => hasher.update(&piece[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(named(e)),
        }
    }
}

/// SHA-256 of bytes in memory, as 64 lower-case hex digits.
pub fn sha256_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// Writes `text` to `path` atomically, as [`write_bytes`].
///
/// # Errors
/// As [`write_bytes`].
pub fn write_text(path: &Path, text: &str) -> Result<(), StageError> {
    write_bytes(path, text.as_bytes())
}

/// Writes `bytes` to `path` atomically: readers see the old file or the new one, never a part.
///
/// # Errors
/// [`crate::Exit::Failed`] with the path, the system's reason and what to check.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), StageError> {
    let write = || -> io::Result<()> {
        let mut file = AtomicWriteFile::open(path)?;
        file.write_all(bytes)?;
        file.commit()
    };
    write().map_err(|e| cannot_write(path, &e))
}

/// Writes `path` atomically with what `fill` puts into it piece by piece; no part of it stays where
/// `fill` fails.
///
/// # Errors
/// As [`write_bytes`].
pub fn write_with(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), StageError> {
    let write = || -> io::Result<()> {
        let mut file = BufWriter::with_capacity(1 << 20, AtomicWriteFile::open(path)?);
        fill(&mut file)?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.commit()
    };
    write().map_err(|e| cannot_write(path, &e))
}

fn cannot_write(path: &Path, e: &io::Error) -> StageError {
    StageError::failed(format!(
        "cannot write {}: {e}; check that its folder exists, is writable and has space",
        path.display()
    ))
}

/// A text file written piece by piece that appears at its path when it is whole, and not before.
pub struct TextFile {
    file: BufWriter<AtomicWriteFile>,
    path: PathBuf,
}

impl TextFile {
    /// Begins a file. Dropped without [`commit`](Self::commit), it leaves nothing.
    ///
    /// # Errors
    /// As [`write_bytes`].
    pub fn create(path: &Path) -> Result<Self, StageError> {
        let file = AtomicWriteFile::open(path).map_err(|e| cannot_write(path, &e))?;
        Ok(Self {
            file: BufWriter::new(file),
            path: path.to_owned(),
        })
    }

    /// Appends `text`.
    ///
    /// # Errors
    /// As [`write_bytes`].
    pub fn write(&mut self, text: &str) -> Result<(), StageError> {
        let written = self.file.write_all(text.as_bytes());
        written.map_err(|e| cannot_write(&self.path, &e))
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// As [`write_bytes`].
    pub fn commit(self) -> Result<(), StageError> {
        let file = self
            .file
            .into_inner()
            .map_err(io::IntoInnerError::into_error);
        file.and_then(AtomicWriteFile::commit)
            .map_err(|e| cannot_write(&self.path, &e))
    }
}

/// Writes `value` as indented JSON with a final newline, atomically.
///
/// # Errors
/// As [`write_text`]; also when `value` cannot be put in JSON.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), StageError> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|e| StageError::failed(format!("cannot put {} into JSON: {e}", path.display())))?;
    text.push('\n');
    write_text(path, &text)
}

/// Makes `path` and its parents, and proves that a file can be written there.
///
/// Called before long work, so that an unwritable folder is found before an hour of training
/// and not after it.
///
/// # Errors
/// [`crate::Exit::Failed`] with the folder and the system's reason.
pub fn create_folder(path: &Path) -> Result<(), StageError> {
    let probe = path.join(format!(".smoltune-probe-{}", std::process::id()));
    fs::create_dir_all(path)
        .and_then(|()| fs::write(&probe, b"probe"))
        .and_then(|()| fs::remove_file(&probe))
        .map_err(|e| {
            // A probe that was opened but could not be filled (full disk) must not stay behind.
            let _ = fs::remove_file(&probe);
            StageError::failed(format!(
                "cannot write into folder {}: {e}; choose another folder or free some space",
                path.display()
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_matches_the_standard_vector() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_bytes(b"abc"), abc);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc");
        fs::write(&path, "abc").unwrap();
        assert_eq!(sha256_file(&path).unwrap(), abc);
    }

    #[test]
    fn a_missing_file_is_named() {
        let message = sha256_file(Path::new("nowhere/at-all"))
            .unwrap_err()
            .to_string();
        assert!(message.contains("nowhere/at-all"), "{message}");
    }

    #[test]
    fn a_file_where_a_folder_should_be_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let message = create_folder(&file.join("sub")).unwrap_err().to_string();
        assert!(message.contains("cannot write into folder"), "{message}");
        assert!(write_text(&file.join("a.json"), "{}").is_err());
    }

    #[test]
    fn a_folder_is_made_and_left_empty() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        create_folder(&folder).unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }
}
