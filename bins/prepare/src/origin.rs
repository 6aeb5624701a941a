//! Where the rows come from: a file, or a data set of the hub.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use dolly_data::hub::{HubDataset, HubSettings, fetch};
use serde::Serialize;
use stage::StageError;

use crate::data_error;

/// Files to read, and the data set that it was downloaded from, if it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The files on this machine; several where a data set comes in shards.
    pub paths: Vec<PathBuf>,
    /// Its place on the hub.
    pub hub: Option<HubOrigin>,
}

/// A file's place on the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HubOrigin {
    /// `OWNER/NAME`.
    pub id: String,
    /// The commit that was read.
    pub commit: String,
    /// The files within the data set.
    pub file: String,
}

/// What exists is a file; what else has the form `OWNER/NAME` and no extension of a data file is
/// taken from the hub; the rest is a file that is missing, which reading it will say.
pub(crate) fn locate(source: &str) -> Result<Origin, StageError> {
    let path = PathBuf::from(source);
    let set = match HubDataset::parse(source) {
        Some(set) if !path.exists() && (set.file.is_some() || !named_as_data(&path)) => set,
        _ => {
            return Ok(Origin {
                paths: vec![path],
                hub: None,
            });
        }
    };
    // The reader may have gone; that is no reason to stop.
    let _ = writeln!(io::stderr(), "{source}: no such file here, asking the hub");
    let found = fetch(&set, &HubSettings::from_env()).map_err(data_error)?;
    Ok(Origin {
        paths: found.paths,
        hub: Some(HubOrigin {
            id: set.id,
            commit: found.commit,
            file: found.files.join(", "),
        }),
    })
}

fn named_as_data(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default();
    ["csv", "jsonl", "ndjson", "json", "parquet", "gz", "zst"]
        .iter()
        .any(|known| extension.eq_ignore_ascii_case(known))
}
