//! Reading the small JSON files of a model's folder.

use std::path::Path;

use crate::ModelError;

/// Much more than a configuration needs. As a tree it takes up to fifty times its bytes.
pub(crate) const CONFIG_BYTES: u64 = 1 << 20;
/// A hundred times the largest index of shards there is.
pub(crate) const INDEX_BYTES: u64 = 16 << 20;

/// The text of a file that may be a link to anything, or anything.
///
/// # Errors
/// If it is no regular file (a device has no end), larger than `most` bytes, or cannot be
/// read.
pub(crate) fn read_text(path: &Path, most: u64) -> Result<String, ModelError> {
    let about = std::fs::metadata(path).map_err(ModelError::io(path))?;
    let reason = if !about.is_file() {
        "it is not a regular file".to_owned()
    } else if about.len() > most {
        format!("it has {} bytes, expected at most {most}", about.len())
    } else {
        return std::fs::read_to_string(path).map_err(ModelError::io(path));
    };
    Err(ModelError::Incomplete {
        path: path.to_path_buf(),
        reason,
        remedy: "get the file again",
    })
}

#[cfg(test)]
mod tests {
    use super::read_text;

    #[test]
    fn what_is_no_file_or_too_large_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let message = |path| read_text(path, 3).unwrap_err().to_string();
        assert!(message(dir.path()).contains("it is not a regular file"));
        let path = dir.path().join("config.json");
        assert!(message(&path).contains("cannot read"));
        std::fs::write(&path, "1234").unwrap();
        assert!(message(&path).contains("config.json: it has 4 bytes, expected at most 3"));
        std::fs::write(&path, "123").unwrap();
        assert_eq!(read_text(&path, 3).unwrap(), "123");
    }
}
