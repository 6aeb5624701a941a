//! Writers: whole files or nothing.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use atomic_write_file::AtomicWriteFile;

use crate::error::DataError;
use crate::row::{LeakKind, Row};

/// The header of the CSV files that we write. Where some row has them, `messages` (as JSON) and
/// `leak` follow.
pub const CSV_HEADER: [&str; 6] = [
    "id",
    "category",
    "instruction",
    "context",
    "response",
    "key",
];

/// Writes rows as CSV: UTF-8 without a byte order mark, a header ([`CSV_HEADER`]), `\n` after each
/// record, quotes only where needed. [`read_source`](crate::read_source) and pandas read it (pandas with
/// `dtype={"id": str}, keep_default_na=False`, else it takes `1` for a number and `NA` for nothing).
///
/// # Errors
/// When the file cannot be written; a file that stood there before is then untouched.
pub fn write_csv(path: &Path, rows: &[Row]) -> Result<(), DataError> {
    atomically(path, |file| {
        let mut writer = csv::Writer::from_writer(file);
        let messages = rows.iter().any(|row| !row.messages.is_empty());
        let leaks = rows.iter().any(|row| row.leak.is_some());
        let more = [("messages", messages), ("leak", leaks)];
        let more = more
            .into_iter()
            .filter(|(_, any)| *any)
            .map(|(name, _)| name);
        writer.write_record(CSV_HEADER.into_iter().chain(more))?;
        for row in rows {
            let context = row.context.as_deref().unwrap_or_default();
            for text in [
                &row.id,
                &row.category,
                &row.instruction,
                context,
                &row.response,
            ] {
                writer.write_field(text)?;
            }
            writer.write_field(row.key())?;
            if messages && row.messages.is_empty() {
                writer.write_field("")?;
            } else if messages {
                writer.write_field(serde_json::to_string(&row.messages)?)?;
            }
            if leaks {
                writer.write_field(row.leak.map_or("", LeakKind::name))?;
            }
            writer.write_record(None::<&[u8]>)?;
        }
        writer.flush()
    })
}

/// Writes rows as JSON Lines, one object a line with the keys of [`CSV_HEADER`], all of them strings,
/// and `messages` (a list of turns) and `leak` where a row has them.
///
/// # Errors
/// When the file cannot be written; a file that stood there before is then untouched.
pub fn write_jsonl(path: &Path, rows: &[Row]) -> Result<(), DataError> {
    atomically(path, |file| {
        for row in rows {
            serde_json::to_writer(&mut *file, row)?;
            file.write_all(b"\n")?;
        }
        Ok(())
    })
}

fn atomically(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<AtomicWriteFile>) -> io::Result<()>,
) -> Result<(), DataError> {
    let write = || {
        let mut file = BufWriter::new(AtomicWriteFile::open(path)?);
        fill(&mut file)?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.commit()
    };
    write().map_err(|source| DataError::write(path, source))
}
