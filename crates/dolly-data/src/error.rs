//! What can be wrong with data, said so that a person can put it right.

use std::io;
use std::path::{Path, PathBuf};

/// An error from reading, splitting or writing rows. The message names the file and, where there
/// is one, the line; causes from below are in [`source`](std::error::Error::source).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// There is no such file.
    #[error("{}: no such file; check the path", path.display())]
    NotFound {
        /// The path as given.
        path: PathBuf,
    },
    /// A folder stands where a file was expected.
    #[error("{}: this is a folder; name a .csv, .jsonl, .json or .parquet file in it", path.display())]
    IsFolder {
        /// The path as given.
        path: PathBuf,
    },
    /// The system would not let us read the file.
    #[error("{}: cannot read this file", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system would not let us write the file; what stood there before is untouched.
    #[error("{}: cannot write this file (nothing was left half-written)", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The extension names no format that we read.
    #[error("{}: unknown kind of file, found extension `{found}`, expected .csv, .jsonl, .ndjson or .json (each also with .gz or .zst), or .parquet", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// Its extension, perhaps empty.
        found: String,
    },
    /// Nothing but white space.
    #[error("{}: the file is empty; expected a header or at least one row", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A CSV header and nothing after it.
    #[error("{}: there is a header but no row after it", path.display())]
    NoRows {
        /// The file.
        path: PathBuf,
    },
    /// Bytes that are not UTF-8.
    #[error("{}: line {line}: invalid UTF-8 at byte {byte} of the file (0x{found:02X}); {advice}", path.display())]
    Encoding {
        /// The file.
        path: PathBuf,
        /// One-based line.
        line: u64,
        /// Zero-based offset in the file.
        byte: usize,
        /// The offending byte.
        found: u8,
        /// What to do about it.
        advice: &'static str,
    },
    /// No column gives the instruction, or none gives the response.
    #[error("{}: no column for {missing}; found columns: {found}; expected `instruction` and `response`, the curated `original-…`/`new-…` pair of each, `prompt` and `completion`, or `messages`; other names can be mapped", path.display())]
    MissingColumns {
        /// The file.
        path: PathBuf,
        /// The fields without a column.
        missing: String,
        /// The columns there are.
        found: String,
    },
    /// Two columns of one name.
    #[error("{}: the header names column `{column}` twice; rename or remove one", path.display())]
    DuplicateColumn {
        /// The file.
        path: PathBuf,
        /// The name that occurs twice.
        column: String,
    },
    /// A CSV row with another number of fields than the header.
    #[error("{}: line {line}: found {found} fields, expected {expected} as in the header (a stray comma or quote, or a row cut short?)", path.display())]
    Ragged {
        /// The file.
        path: PathBuf,
        /// The line on which the row starts, from one.
        line: u64,
        /// Fields in the row.
        found: u64,
        /// Fields in the header.
        expected: u64,
    },
    /// A quote that is never closed: the file was cut short, or a quote is not doubled.
    #[error("{}: line {line}: the quote opened here is never closed; the file is cut short or a quote inside a field is not doubled", path.display())]
    UnclosedQuote {
        /// The file.
        path: PathBuf,
        /// The line of the opening quote, from one.
        line: u64,
    },
    /// Any other fault of a CSV file.
    #[error("{}: not readable as CSV", path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// What the CSV reader said.
        source: csv::Error,
    },
    /// A line that is not JSON.
    #[error("{}: line {line}: not valid JSON{hint}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// One-based line.
        line: u64,
        /// Says so when the last line looks cut short.
        hint: &'static str,
        /// What the JSON reader said.
        source: serde_json::Error,
    },
    /// A line that is JSON but no object.
    #[error("{}: line {line}: found {found}, expected one JSON object a line", path.display())]
    NotAnObject {
        /// The file.
        path: PathBuf,
        /// One-based line.
        line: u64,
        /// The kind of value found.
        found: &'static str,
    },
    /// A field of the wrong JSON type.
    #[error("{}: line {line}: field `{field}`: found {found}, expected {expected}", path.display())]
    WrongType {
        /// The file.
        path: PathBuf,
        /// One-based line.
        line: u64,
        /// The field.
        field: String,
        /// The kind of value found.
        found: &'static str,
        /// The kinds of value accepted.
        expected: &'static str,
    },
    /// A curated `new-*` cell that cannot be parsed.
    #[error("{}: line {line}: column `{column}`: {problem}", path.display())]
    Curated {
        /// The file.
        path: PathBuf,
        /// The line on which the row starts, from one.
        line: u64,
        /// The column.
        column: String,
        /// What is wrong, and at which character of the cell.
        problem: String,
    },
    /// A line without end.
    #[error("{}: line {line} is longer than {limit} MiB; expected rows of text, one record after another", path.display())]
    LineTooLong {
        /// The file.
        path: PathBuf,
        /// The line, from one.
        line: u64,
        /// The limit in MiB.
        limit: usize,
    },
    /// A packed file that unpacks to far more than text would.
    #[error("{}: unpacks to more than {limit} MiB, far more than text of its packed size; refused (unpack it yourself if it is really data)", path.display())]
    Bomb {
        /// The file.
        path: PathBuf,
        /// The limit in MiB.
        limit: u64,
    },
    /// A packed file that cannot be unpacked.
    #[error("{}: cannot be unpacked: it is damaged, cut short, or packed in another way than its name says", path.display())]
    Unpack {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        source: io::Error,
    },
    /// A Parquet file that is damaged, or of a kind that we cannot read.
    #[error("{}{}: not readable as Parquet; download or export it again", path.display(), row.map_or(String::new(), |row| format!(": row {row}")))]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The row, from one; none where the file as a whole is wrong.
        row: Option<u64>,
        /// What the decoder said.
        source: parquet::errors::ParquetError,
    },
    /// A column that is mapped to a field, but not there.
    #[error("{}: no column `{column}`, to which a field is mapped; found columns: {found}", path.display())]
    UnknownColumn {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// The columns there are.
        found: String,
    },
    /// A conversation that cannot be trained on.
    #[error("{}: line {line}: column `{column}`: {problem}", path.display())]
    Messages {
        /// The file.
        path: PathBuf,
        /// The line on which the record starts, from one; of a Parquet file, the row.
        line: u64,
        /// The column.
        column: String,
        /// What is wrong, and in which turn.
        problem: String,
    },
    /// The split asks for more rows than there are.
    #[error("{}: test {test} + train {train}{} rows asked for, but the source has {rows}; ask for fewer", path.display(), and_val(*val))]
    SplitTooLarge {
        /// The file.
        path: PathBuf,
        /// Test rows asked for.
        test: usize,
        /// Train rows asked for.
        train: usize,
        /// Validation rows asked for.
        val: usize,
        /// Rows in the source, blank ones included.
        rows: usize,
    },
    /// All rows drawn for one side of the split are unusable.
    #[error("{}: all {drawn} rows drawn for {part} lack an instruction or a response; take another seed or more rows", path.display())]
    EmptyPart {
        /// The file.
        path: PathBuf,
        /// `test`, `train` or `val`.
        part: &'static str,
        /// Rows drawn.
        drawn: usize,
    },
    /// No row has both an instruction and a response.
    #[error("{}: none of the {rows} rows has both an instruction and a response", path.display())]
    NothingUsable {
        /// The file.
        path: PathBuf,
        /// Rows in the file.
        rows: usize,
    },
    /// A data set of the hub could not be had.
    #[error("{id}: {problem}")]
    Hub {
        /// The data set as asked for.
        id: String,
        /// What went wrong and what to do.
        problem: String,
    },
    /// A split that cannot be, whatever the source holds.
    #[error("{}: cannot split: {problem}", path.display())]
    Split {
        /// The file.
        path: PathBuf,
        /// What was asked for, what would be possible.
        problem: String,
    },
}

/// Speaks of validation rows only where there are to be any.
fn and_val(val: usize) -> String {
    match val {
        0 => String::new(),
        val => format!(" + val {val}"),
    }
}

impl DataError {
    /// Whether other arguments would help and other data would not have to be had: split sizes that
    /// exceed the source, demands that exclude each other, a number of folds that cannot be.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::SplitTooLarge { .. } | Self::Split { .. })
    }

    /// The error for a failed read, told apart by what stands at the path.
    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound { path },
            io::ErrorKind::IsADirectory => Self::IsFolder { path },
            _ => Self::Read { path, source },
        }
    }

    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        Self::Write {
            path: path.to_path_buf(),
            source,
        }
    }
}
