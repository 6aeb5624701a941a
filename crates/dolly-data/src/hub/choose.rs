//! Which of a data set's files holds the rows.

use std::fs;
use std::path::Path;

use super::HubDataset;
use crate::error::DataError;

/// The file asked for; else the only data file; else the only one named for training.
pub(super) fn data_file(set: &HubDataset, names: &[String]) -> Result<String, DataError> {
    if let Some(wanted) = &set.file {
        return names
            .iter()
            .find(|name| *name == wanted)
            .cloned()
            .ok_or_else(|| {
                set.error(format!(
                    "no file `{wanted}` at revision {}; found: {}",
                    set.revision,
                    list(names)
                ))
            });
    }
    for kinds in [&["jsonl", "ndjson"][..], &["csv"], &["json"]] {
        let found: Vec<&String> = names.iter().filter(|name| is_data(name, kinds)).collect();
        let training: Vec<&String> = found
            .iter()
            .copied()
            .filter(|name| name.contains("train"))
            .collect();
        match (found.as_slice(), training.as_slice()) {
            ([], _) => {}
            ([only], _) | (_, [only]) => return Ok(String::clone(only)),
            _ => {
                let id = &set.id;
                return Err(set.error(format!(
                    "several files could be meant; name one as `{id}:FILE`: {}",
                    list(names)
                )));
            }
        }
    }
    let parquet = names.iter().any(|name| has_extension(name, &["parquet"]));
    Err(set.error(if parquet {
        "it holds its rows as Parquet, which cannot be read yet; use databricks/databricks-dolly-15k (JSONL), or give a CSV or JSONL export as a local file".to_owned()
    } else {
        format!("no .jsonl, .csv or .json data file in it; found: {}", list(names))
    }))
}

fn is_data(name: &str, kinds: &[&str]) -> bool {
    let described = ["dataset_infos.json", "dataset_info.json", "config.json"];
    let hidden = name.starts_with('.');
    has_extension(name, kinds) && !hidden && !described.iter().any(|other| name.ends_with(other))
}

fn has_extension(name: &str, kinds: &[&str]) -> bool {
    let extension = Path::new(name).extension().unwrap_or_default();
    kinds
        .iter()
        .any(|kind| extension.eq_ignore_ascii_case(kind))
}

fn list(names: &[String]) -> String {
    const SHOWN: usize = 12;
    let more = names.len().saturating_sub(SHOWN);
    let shown = names[..names.len() - more].join(", ");
    match more {
        0 => shown,
        _ => format!("{shown} and {more} more"),
    }
}

/// The files below a folder, as paths relative to it with `/` between.
pub(super) fn files_in(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut open = vec![(folder.to_path_buf(), String::new())];
    while let Some((folder, prefix)) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            // Snapshots are links to blobs: follow them, and pass over those that lead nowhere.
            match fs::metadata(entry.path()) {
                Ok(meta) if meta.is_dir() => open.push((entry.path(), name + "/")),
                Ok(_) => names.push(name),
                Err(_) => {}
            }
        }
    }
    names.sort();
    names
}
