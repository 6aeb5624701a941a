//! The folder that is written into.

use std::path::{Component, Path};

use stage::{Manifest, OrExit, StageError};

use crate::MANIFEST_FILE;

/// Makes the folder; one that holds something is used only if an earlier export left it and may be
/// replaced, and never if it is one of the `sources` that are read.
pub(crate) fn make(out: &Path, overwrite: bool, sources: &[&Path]) -> Result<(), StageError> {
    stage::create_folder(out)?;
    let same = |a: &Path, b: &Path| matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b);
    let holds = |source: &Path| {
        let around = source.parent().filter(|_| source.is_file());
        same(out, source) || around.is_some_and(|around| same(out, around))
    };
    if sources.iter().any(|source| holds(source)) {
        let text = format!(
            "{} holds the model that is read; choose another folder",
            out.display()
        );
        return Err(StageError::usage(text));
    }
    let mut entries = std::fs::read_dir(out).or_failed()?;
    if entries.next().is_none() {
        return Ok(());
    }
    let earlier = Manifest::read(&out.join(MANIFEST_FILE));
    let earlier = earlier.ok().filter(|found| found.stage == "export");
    match earlier {
        Some(earlier) if overwrite => clear(out, &earlier),
        earlier => Err(StageError::usage(format!(
            "{} is not empty; choose another --output_dir{}",
            out.display(),
            if earlier.is_some() {
                ", or replace that export with --overwrite"
            } else {
                ""
            }
        ))),
    }
}

/// Deletes what an earlier export wrote, and what it may have begun: a shard that stayed would be
/// read beside the new weights.
fn clear(out: &Path, earlier: &Manifest) -> Result<(), StageError> {
    let inside = |path: &Path| path.components().all(|c| matches!(c, Component::Normal(_)));
    let named = earlier.outputs.iter().map(|file| out.join(&file.path));
    let mut old: Vec<_> = named
        .filter(|path| path.strip_prefix(out).is_ok_and(inside))
        .collect();
    for entry in std::fs::read_dir(out).or_failed()? {
        let path = entry.or_failed()?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(is_weights) {
            old.push(path);
        }
    }
    // What makes a folder a model or an adapter goes first.
    old.sort_by_key(|path| path.extension().is_none_or(|ext| ext != "json"));
    for path in old {
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                let text = format!("cannot delete {}: {e}", path.display());
                return Err(StageError::failed(text));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Names that exports give to files of weights, whole or begun.
fn is_weights(name: &str) -> bool {
    let ends = [".safetensors", ".safetensors.index.json", ".part"];
    name.starts_with("model") && ends.iter().any(|end| name.ends_with(end))
}
