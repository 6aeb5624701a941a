//! Which of a data set's files holds the rows.

use std::fs;
use std::path::Path;

use super::HubDataset;
use crate::error::DataError;

/// The file asked for; else the only data file, or all shards of it; else the only one named for
/// training. Text is preferred to Parquet: a person can look at it.
pub(super) fn data_files(set: &HubDataset, names: &[String]) -> Result<Vec<String>, DataError> {
    if let Some(wanted) = &set.file {
        if names.contains(wanted) {
            return Ok(vec![wanted.clone()]);
        }
        return Err(set.error(format!(
            "no file `{wanted}` at revision {}; found: {}",
            set.revision,
            list(names)
        )));
    }
    for kinds in [&["jsonl", "ndjson"][..], &["csv"], &["json"], &["parquet"]] {
        let found: Vec<&String> = names.iter().filter(|name| is_data(name, kinds)).collect();
        if found.is_empty() {
            continue;
        }
        let training = |name: &&String| name.contains("train");
        let training: Vec<&String> = found.iter().copied().filter(training).collect();
        let chosen = whole(&found).or_else(|| whole(&training));
        return chosen.ok_or_else(|| {
            let id = &set.id;
            set.error(format!(
                "several files could be meant; name one as `{id}:FILE`: {}",
                list(names)
            ))
        });
    }
    Err(set.error(format!(
        "no .jsonl, .csv, .json or .parquet data file in it; found: {}",
        list(names)
    )))
}

/// The files, if they are one data file: a single one, or every shard `NAME-00000-of-0000N.EXT`.
fn whole(files: &[&String]) -> Option<Vec<String>> {
    let [first, ..] = files else {
        return None;
    };
    let mut sorted: Vec<String> = files.iter().map(|&name| name.clone()).collect();
    sorted.sort_unstable();
    match shard(first) {
        None => (files.len() == 1).then_some(sorted),
        Some((stem, _, shards)) => {
            let mut numbers = sorted.iter().map(|name| shard(name));
            let complete = (0..shards).all(|n| numbers.next() == Some(Some((stem, n, shards))));
            (complete && files.len() == shards).then_some(sorted)
        }
    }
}

/// `data/train-00001-of-00003-HASH.parquet` as (`data/train`, 1, 3); the hash, which some writers
/// add, differs from shard to shard.
fn shard(name: &str) -> Option<(&str, usize, usize)> {
    let (front, rest) = name.split_once("-of-")?;
    let (stem, number) = front.rsplit_once('-')?;
    let shards: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((stem, number.parse().ok()?, shards.parse().ok()?))
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
