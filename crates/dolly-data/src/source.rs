//! A source of records: a file, read whole, with every record it holds.

use std::path::{Path, PathBuf};

use crate::error::DataError;
use crate::read;
use crate::row::{Dropped, Loaded, Record};

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Comma-separated, with a header.
    Csv,
    /// One JSON object a line.
    Jsonl,
    /// One JSON array of objects.
    Json,
}

/// Every record of a file in its order, the unusable ones included: what a split is taken from.
#[derive(Debug, Clone)]
pub struct Source {
    pub(crate) path: PathBuf,
    pub(crate) format: Format,
    pub(crate) columns: Vec<String>,
    pub(crate) records: Vec<Record>,
}

impl Source {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How it is written.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Its columns, or the keys of its objects, in order of first appearance.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Its records.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// How many records it holds, the unusable ones included. Never zero.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Always false: a source without records is an error when it is read.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The standard view of all records.
    ///
    /// # Errors
    /// When no record is usable.
    pub fn rows(&self) -> Result<Loaded, DataError> {
        let loaded = self.view(0..self.len());
        if loaded.rows.is_empty() {
            return Err(DataError::NothingUsable {
                path: self.path.clone(),
                rows: self.len(),
            });
        }
        Ok(loaded)
    }

    /// The standard view of the records at these indices, in this order. All lie within the source.
    pub(crate) fn view(&self, indices: impl IntoIterator<Item = usize>) -> Loaded {
        let mut loaded = Loaded::default();
        for index in indices {
            match self.records[index].to_row() {
                Ok(row) => loaded.rows.push(row),
                Err(reason) => loaded.dropped.push(Dropped {
                    index,
                    id: self.records[index].id.clone(),
                    reason,
                }),
            }
        }
        loaded
    }
}

/// Reads a `.csv`, `.jsonl`, `.ndjson` or `.json` file, told apart by its extension.
///
/// Columns are Dolly's (`instruction`, `context`, `response`, `category`), those of the curated
/// set (`original-…` and `new-…`), or both; `id` may be missing, others are ignored.
///
/// # Errors
/// Anything wrong with the file as a file: missing, a folder, empty, not UTF-8, cut short, without
/// the needed columns, a field of the wrong type. Blank rows are no error: see [`load_rows`].
pub fn read_source(path: &Path) -> Result<Source, DataError> {
    read::file(path)
}

/// Reads a file and takes the standard view of it.
///
/// # Errors
/// As [`read_source`], and when no row has both an instruction and a response.
pub fn load_rows(path: &Path) -> Result<Loaded, DataError> {
    read_source(path)?.rows()
}
