//! A file of any size, some whole lines at a time.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use stage::{OrExit, StageError};

use crate::PredictionError;
use crate::predictions::{Fields, Prediction, parse_block};

/// Bytes read at once. Large, because each thread begins a block with an empty cache of stems.
pub(crate) const BLOCK: usize = 16 << 20;

/// The path that stands for standard input.
pub(crate) const STDIN: &str = "-";

/// What to do with the rows of a block, in the order of the file.
type Each<'a> = &'a mut dyn FnMut(Vec<Prediction>) -> Result<(), StageError>;

/// Calls `each` with the rows of the file, block by block; `-` is standard input.
///
/// # Errors
/// Bad data (exit 3): see [`PredictionError`]; whatever `each` returns.
pub(crate) fn for_each_block(
    path: &Path,
    fields: &Fields,
    size: usize,
    each: Each<'_>,
) -> Result<(), StageError> {
    let read = |source| PredictionError::Read {
        path: path.to_owned(),
        source,
    };
    let mut file: Box<dyn Read> = if path == Path::new(STDIN) {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(File::open(path).map_err(read).or_bad_data()?)
    };
    let (mut waiting, mut line, mut found) = (Vec::new(), 1, false);
    loop {
        let got = file
            .by_ref()
            .take(size as u64)
            .read_to_end(&mut waiting)
            .map_err(read)
            .or_bad_data()?;
        let whole = match waiting.iter().rposition(|&b| b == b'\n') {
            _ if got == 0 => waiting.len(),
            Some(last) => last + 1,
            None => continue,
        };
        let rows = parse_block(&waiting[..whole], line, path, fields).or_bad_data()?;
        line += waiting[..whole].split(|&b| b == b'\n').count() - 1;
        waiting.drain(..whole);
        found |= !rows.is_empty();
        each(rows)?;
        if got == 0 {
            break;
        }
    }
    if !found {
        let path = path.to_owned();
        return Err(PredictionError::Empty { path }).or_bad_data();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use std::io::Write;

    fn read(content: &[u8], size: usize) -> Result<Vec<Prediction>, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        let mut all = Vec::new();
        for_each_block(file.path(), &Fields::default(), size, &mut |rows| {
            all.extend(rows);
            Ok(())
        })
        .map_err(|e| e.to_string().replace(file.path().to_str().unwrap(), "FILE"))?;
        Ok(all)
    }

    #[test]
    fn any_block_size_gives_the_same_rows_and_the_same_errors() {
        let row = "{\"gold\":\"g\u{fc}ld\",\"prediction\":\"p\"}";
        let contents: Vec<Vec<u8>> = vec![
            format!("\u{feff}{row}\r\n\n{row}\n  \n{row}").into_bytes(),
            format!("{row}\n{row}\n\n").into_bytes(),
            format!("{row}\n{{\"gold\":1}}\n{row}\nnot json").into_bytes(),
            [row.as_bytes(), b"\n\n{\"gold\":\"\xff\"}\n"].concat(),
            b"\n \n\r\n".to_vec(),
            Vec::new(),
            row.as_bytes()[..20].to_vec(),
        ];
        for content in contents {
            let whole = read(&content, BLOCK);
            for size in 1..content.len() + 2 {
                assert_eq!(read(&content, size), whole, "block size {size}");
            }
        }
    }
}
