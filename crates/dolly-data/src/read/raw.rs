//! What every format gives: objects, one after another.

use serde_json::{Map, Value};

use crate::error::DataError;
use crate::source::Format;

/// A record as its format has it: values by column. A CSV file's are all strings.
#[derive(Debug)]
pub(super) struct Raw {
    /// Where it starts: the line of a text file, the row of a Parquet file; from one.
    pub(super) line: u64,
    pub(super) values: Map<String, Value>,
}

/// A format's reader, record by record.
pub(super) trait RawReader: Iterator<Item = Result<Raw, DataError>> {
    /// How the file is written.
    fn format(&self) -> Format;

    /// The columns, where the file names them before its first record.
    fn header(&self) -> Option<&[String]>;
}
