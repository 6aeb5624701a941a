//! A file's text, unpacked where it is packed, within bounds.
//!
//! A file is not trusted to be of a size that fits: a line without end, or a few kilobytes that
//! unpack to terabytes, are refused while they are read, before they fill the memory.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use crate::error::DataError;

/// The longest line. The longest row of Dolly has 26 kB.
pub(crate) const MAX_LINE: usize = 64 << 20;

/// The most that a packed file may unpack to before its ratio is looked at.
const ALWAYS_FINE: u64 = 64 << 20;

/// Unpacked to packed bytes. Text packs to a fifth, tables of repeated rows to a fiftieth; only
/// bombs come near the thousand that gzip can reach.
const MAX_RATIO: u64 = 200;

/// How a file is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    None,
    Gzip,
    Zstd,
}

impl Packing {
    /// By the last extension.
    pub(super) fn of(path: &Path) -> Self {
        let extension = path.extension().unwrap_or_default();
        if extension.eq_ignore_ascii_case("gz") {
            Self::Gzip
        } else if extension.eq_ignore_ascii_case("zst") {
            Self::Zstd
        } else {
            Self::None
        }
    }
}

/// The bytes of a file, unpacked.
pub(super) fn bytes(path: &Path, packing: Packing) -> Result<Vec<u8>, DataError> {
    let fault = |source| DataError::read(path, source);
    let file = File::open(path).map_err(fault)?;
    let packed = file.metadata().map_err(fault)?.len();
    let file = BufReader::new(file);
    let (reader, most): (Box<dyn Read>, u64) = match packing {
        Packing::None => (Box::new(file), u64::MAX),
        Packing::Gzip => (
            Box::new(flate2::bufread::MultiGzDecoder::new(file)),
            limit(packed),
        ),
        Packing::Zstd => {
            let decoder = zstd::Decoder::with_buffer(file).map_err(fault)?;
            (Box::new(decoder), limit(packed))
        }
    };
    let unpacked = read_bounded(path, reader, most);
    unpacked.map_err(|error| match error {
        // What the decoder says of a damaged file is no fault of the system.
        Fault::Io(source) if packing != Packing::None => DataError::Unpack {
            path: path.to_path_buf(),
            source,
        },
        Fault::Io(source) => fault(source),
        Fault::Data(error) => error,
    })
}

fn limit(packed: u64) -> u64 {
    ALWAYS_FINE.max(packed.saturating_mul(MAX_RATIO))
}

enum Fault {
    Io(io::Error),
    Data(DataError),
}

fn read_bounded(path: &Path, mut reader: impl Read, most: u64) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    let mut piece = vec![0; 1 << 20];
    let (mut lines, mut line_start) = (0_u64, 0);
    loop {
        let n = match reader.read(&mut piece) {
            Ok(0) => return Ok(bytes),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Fault::Io(e)),
        };
        for (at, _) in piece[..n]
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
        {
            lines += 1;
            line_start = bytes.len() + at + 1;
        }
        bytes.extend_from_slice(&piece[..n]);
        if bytes.len() - line_start.min(bytes.len()) > MAX_LINE {
            return Err(Fault::Data(DataError::LineTooLong {
                path: path.to_path_buf(),
                line: lines + 1,
                limit: MAX_LINE >> 20,
            }));
        }
        if bytes.len() as u64 > most {
            return Err(Fault::Data(DataError::Bomb {
                path: path.to_path_buf(),
                limit: most >> 20,
            }));
        }
    }
}
