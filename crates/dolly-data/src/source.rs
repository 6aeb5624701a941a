//! A source of records: a file, read whole, with every record it holds.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::error::DataError;
use crate::read::{ReadOptions, open_records};
use crate::row::{Dropped, Loaded, Record, View};

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
    /// Apache Parquet.
    Parquet,
}

/// Every record of a file in its order, the unusable ones included: what a split is taken from.
#[derive(Debug, Clone)]
pub struct Source {
    pub(crate) path: PathBuf,
    pub(crate) format: Format,
    pub(crate) columns: Vec<String>,
    pub(crate) records: Vec<Record>,
    pub(crate) view: View,
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

    /// Which texts of its records count.
    pub fn text_view(&self) -> View {
        self.view
    }

    /// Ids that more than one record has, in order of first appearance, each with the lines of its
    /// records. A split is by place, not by id, so they are no error; but who joins by id must know.
    pub fn repeated_ids(&self) -> Vec<(&str, Vec<u64>)> {
        let mut lines: HashMap<&str, Vec<u64>> = HashMap::with_capacity(self.len());
        for record in &self.records {
            lines.entry(&record.id).or_default().push(record.line);
        }
        let mut repeated = Vec::new();
        for record in &self.records {
            if let Some(lines) = lines
                .remove(record.id.as_str())
                .filter(|lines| lines.len() > 1)
            {
                repeated.push((record.id.as_str(), lines));
            }
        }
        repeated
    }

    /// The rows that its records are in its view.
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

    /// The rows of the records at these indices, in this order. All lie within the source.
    pub(crate) fn view(&self, indices: impl IntoIterator<Item = usize>) -> Loaded {
        let mut loaded = Loaded::default();
        for index in indices {
            match self.records[index].to_row(self.view) {
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

/// Reads a `.csv`, `.jsonl`, `.ndjson`, `.json` or `.parquet` file, told apart by its extension; the
/// text formats may be packed as `.gz` or `.zst`.
///
/// Columns are Dolly's (`instruction`, `context`, `response`, `category`), those of the curated
/// set (`original-…` and `new-…`), Alpaca's (`instruction`, `input`, `output`), `prompt` and
/// `completion`, `question` and `answer`, or a conversation in `messages`; `id` may be missing,
/// others are ignored.
///
/// # Errors
/// Anything wrong with the file as a file: missing, a folder, empty, not UTF-8, cut short, without
/// the needed columns, a field of the wrong type. Blank rows are no error: see [`load_rows`].
pub fn read_source(path: &Path) -> Result<Source, DataError> {
    read_source_with(path, &ReadOptions::default())
}

/// [`read_source`] with columns of other names, and another view.
///
/// # Errors
/// As there, and when a mapped column does not exist.
pub fn read_source_with(path: &Path, options: &ReadOptions) -> Result<Source, DataError> {
    read_parts(std::slice::from_ref(&path), options)
}

/// Reads several files as one source: the shards of a data set, in this order.
///
/// # Errors
/// As [`read_source_with`], for the first file that is wrong; and for no file at all.
pub fn read_parts(paths: &[impl AsRef<Path>], options: &ReadOptions) -> Result<Source, DataError> {
    let Some(first) = paths.first() else {
        return Err(DataError::NotFound {
            path: PathBuf::new(),
        });
    };
    let (mut records, mut columns, mut format) = (Vec::new(), Vec::<String>::new(), Format::Csv);
    for path in paths {
        let mut reader = open_records(path.as_ref(), options, records.len())?;
        for record in &mut reader {
            records.push(record?);
        }
        format = reader.format();
        let new = reader
            .columns()
            .iter()
            .filter(|name| !columns.contains(name));
        columns.extend(new.cloned().collect::<Vec<_>>());
    }
    Ok(Source {
        path: first.as_ref().to_path_buf(),
        format,
        columns,
        records,
        view: options.view,
    })
}

/// Reads a file and takes the standard view of it.
///
/// # Errors
/// As [`read_source`], and when no row has both an instruction and a response.
pub fn load_rows(path: &Path) -> Result<Loaded, DataError> {
    read_source(path)?.rows()
}
