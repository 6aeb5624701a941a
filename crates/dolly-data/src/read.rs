//! From bytes to records. [`open`] finds the format; a module for each gives raw objects, and
//! [`record`] makes records of them, whatever format they come from.

mod csv_file;
mod curated;
mod json_file;
mod literal;
pub(crate) mod load;
mod messages;
mod options;
mod parquet_file;
mod raw;
mod record;
mod shape;

use std::path::{Path, PathBuf};

use crate::error::DataError;
use crate::row::{Record, is_blank};
use crate::source::Format;

pub use options::{FieldMap, FieldMapError, ReadOptions};

use csv_file::CsvReader;
use json_file::JsonReader;
use load::Packing;
use parquet_file::ParquetReader;
use raw::RawReader;
use record::Reading;
use shape::Shape;

/// Records, one after another, from any kind of file. Parquet is decoded as it is asked for; the
/// text of the other formats is held in memory, its records are not.
pub trait RecordReader: Iterator<Item = Result<Record, DataError>> {
    /// How the file is written.
    fn format(&self) -> Format;

    /// Its columns; of JSON, the keys seen so far.
    fn columns(&self) -> &[String];
}

/// Opens a file, told apart by its extension. A record without an id gets its place, counted from
/// `first`.
///
/// # Errors
/// As [`crate::read_source`]; what is wrong with a record comes when it is asked for.
pub fn open_records(
    path: &Path,
    options: &ReadOptions,
    first: usize,
) -> Result<Box<dyn RecordReader>, DataError> {
    if path.is_dir() {
        return Err(DataError::IsFolder {
            path: path.to_path_buf(),
        });
    }
    let raw = open_raw(path)?;
    let mut shape = Shape::new(&options.map);
    let mut columns = Vec::new();
    if let Some(header) = raw.header() {
        shape.check(path, header)?;
        columns = header.to_vec();
        shape.settle(header);
    }
    Ok(Box::new(Records {
        path: path.to_path_buf(),
        raw,
        shape,
        columns,
        first,
        index: 0,
        done: false,
    }))
}

fn open_raw(path: &Path) -> Result<Box<dyn RawReader>, DataError> {
    let packing = Packing::of(path);
    let format = format_of(path, packing);
    if let Ok(Format::Parquet) = format {
        return Ok(Box::new(ParquetReader::new(path)?));
    }
    let bytes = load::bytes(path, packing)?;
    let format = format?;
    let text = utf8(path, &bytes)?;
    let start = text.len() - text.strip_prefix('\u{feff}').unwrap_or(text).len();
    let text = &text[start..];
    if is_blank(text) {
        return Err(DataError::Empty {
            path: path.to_path_buf(),
        });
    }
    let array = text.trim_start().starts_with('[');
    if format == Format::Csv {
        return Ok(Box::new(CsvReader::new(path, bytes, start)?));
    }
    let text = text.to_owned();
    drop(bytes);
    // Some exporters write an array into `.jsonl`, some write lines into `.json`.
    Ok(Box::new(if array {
        JsonReader::array(path, text)?
    } else {
        JsonReader::lines(path, text)
    }))
}

fn format_of(path: &Path, packing: Packing) -> Result<Format, DataError> {
    let inner = match packing {
        Packing::None => path.to_path_buf(),
        Packing::Gzip | Packing::Zstd => path.with_extension(""),
    };
    let extension = inner.extension().unwrap_or_default().to_string_lossy();
    match (extension.to_ascii_lowercase().as_str(), packing) {
        ("csv", _) => Ok(Format::Csv),
        ("jsonl" | "ndjson", _) => Ok(Format::Jsonl),
        ("json", _) => Ok(Format::Json),
        ("parquet", Packing::None) => Ok(Format::Parquet),
        _ => Err(DataError::UnknownFormat {
            path: path.to_path_buf(),
            found: path
                .extension()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
        }),
    }
}

/// Raw objects, read as records.
struct Records {
    path: PathBuf,
    raw: Box<dyn RawReader>,
    shape: Shape,
    columns: Vec<String>,
    first: usize,
    index: usize,
    done: bool,
}

impl Iterator for Records {
    type Item = Result<Record, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let Some(raw) = self.raw.next() else {
            self.done = true;
            return self.at_the_end().err().map(Err);
        };
        let record = raw.and_then(|raw| {
            if self.raw.header().is_none() {
                self.see(&raw.values);
            }
            let reading = Reading::new(&self.path, &self.shape, raw);
            reading.record(self.first + self.index)
        });
        self.index += 1;
        // After an error there is nothing that could be trusted.
        self.done = record.is_err();
        Some(record)
    }
}

impl Records {
    /// Notes the keys of an object.
    fn see(&mut self, object: &serde_json::Map<String, serde_json::Value>) {
        let mut new = false;
        for key in object.keys() {
            if !self.columns.contains(key) {
                self.columns.push(key.clone());
                new = true;
            }
        }
        if new {
            self.shape.settle(&self.columns);
        }
    }

    /// A file without records is an error, and so is one in which no key gives a needed field.
    fn at_the_end(&self) -> Result<(), DataError> {
        let path = || self.path.clone();
        if self.index == 0 {
            return Err(match self.raw.header() {
                Some(_) => DataError::NoRows { path: path() },
                None => DataError::Empty { path: path() },
            });
        }
        self.shape.check(&self.path, &self.columns)
    }
}

impl RecordReader for Records {
    fn format(&self) -> Format {
        self.raw.format()
    }

    fn columns(&self) -> &[String] {
        &self.columns
    }
}

/// The bytes as text, or the place where they stop being UTF-8.
fn utf8<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str, DataError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let byte = error.valid_up_to();
        let advice = if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            "it looks like UTF-16: save it as UTF-8"
        } else if error.error_len().is_none() {
            "the file ends inside a character: it is cut short"
        } else {
            "save it as UTF-8"
        };
        DataError::Encoding {
            path: path.to_path_buf(),
            line: line_at(bytes, byte),
            byte,
            found: bytes[byte],
            advice,
        }
    })
}

/// The one-based line on which the byte at `offset` stands.
fn line_at(bytes: &[u8], offset: usize) -> u64 {
    bytes[..offset].split(|&b| b == b'\n').count() as u64
}
