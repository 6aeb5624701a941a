//! Parquet: the hub's format, columns packed in row groups, read row by row.

use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use serde_json::{Map, Value};

use super::raw::{Raw, RawReader};
use crate::error::DataError;
use crate::source::Format;

/// The rows of a Parquet file.
pub(super) struct ParquetReader {
    path: PathBuf,
    columns: Vec<String>,
    rows: RowIter<'static>,
    row: u64,
}

impl ParquetReader {
    pub(super) fn new(path: &Path) -> Result<Self, DataError> {
        let file = File::open(path).map_err(|source| DataError::read(path, source))?;
        let fault = |source| DataError::Parquet {
            path: path.to_path_buf(),
            row: None,
            source,
        };
        let reader = guarded(|| SerializedFileReader::new(file)).map_err(fault)?;
        let schema = reader.metadata().file_metadata().schema();
        let columns = schema
            .get_fields()
            .iter()
            .map(|f| f.name().to_owned())
            .collect();
        Ok(Self {
            path: path.to_path_buf(),
            columns,
            rows: guarded(|| Ok(RowIter::from_file_into(Box::new(reader)))).map_err(fault)?,
            row: 0,
        })
    }
}

/// The decoder checks what it reads, but not all of it: on some damaged pages it panics.
fn guarded<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    let read = std::panic::AssertUnwindSafe(read);
    std::panic::catch_unwind(read)
        .unwrap_or_else(|_| Err(ParquetError::General("a page cannot be decoded".to_owned())))
}

impl Iterator for ParquetReader {
    type Item = Result<Raw, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.row += 1;
        let rows = &mut self.rows;
        let row = guarded(|| rows.next().transpose()).transpose()?;
        let raw = row.map(|row| Raw {
            line: self.row,
            values: object(row),
        });
        Some(raw.map_err(|source| DataError::Parquet {
            path: self.path.clone(),
            row: Some(self.row),
            source,
        }))
    }
}

impl RawReader for ParquetReader {
    fn format(&self) -> Format {
        Format::Parquet
    }

    fn header(&self) -> Option<&[String]> {
        Some(&self.columns)
    }
}

fn object(row: Row) -> Map<String, Value> {
    let columns = row.into_columns().into_iter();
    columns.map(|(name, field)| (name, value(field))).collect()
}

fn value(field: Field) -> Value {
    match field {
        Field::Str(text) => Value::String(text),
        Field::Group(row) => Value::Object(object(row)),
        Field::ListInternal(list) => list.elements().iter().cloned().map(value).collect(),
        Field::Bytes(bytes) => bytes
            .as_utf8()
            .map_or(Value::Null, |text| Value::String(text.to_owned())),
        Field::Null => Value::Null,
        Field::Bool(truth) => Value::Bool(truth),
        Field::Byte(n) => n.into(),
        Field::Short(n) => n.into(),
        Field::Int(n) => n.into(),
        Field::Long(n) => n.into(),
        Field::UByte(n) => n.into(),
        Field::UShort(n) => n.into(),
        Field::UInt(n) => n.into(),
        Field::ULong(n) => n.into(),
        Field::Float(x) => f64::from(x).into(),
        Field::Double(x) => x.into(),
        // Dates, decimals, maps: nothing that a row is made of. Told as a text in error messages.
        other => Value::String(other.to_string()),
    }
}
