//! The folder that is written into.

use std::path::{Component, Path, PathBuf};

use stage::{Manifest, OrExit, StageError};

use crate::args::OutType;
use crate::{CARD_FILE, MANIFEST_FILE, gguf_adapter, gguf_model, modelfile, tokenizer, weights};

/// A folder that may be written into.
pub(crate) struct Room {
    out: PathBuf,
    /// The export that it holds and that is to be replaced.
    earlier: Option<Manifest>,
}

/// Makes the folder, and deletes nothing; one that holds something is accepted only if an earlier
/// export left it and may be replaced, and never if it holds one of the `sources` that are read.
pub(crate) fn check(out: &Path, overwrite: bool, sources: &[PathBuf]) -> Result<Room, StageError> {
    stage::create_folder(out)?;
    if sources.iter().any(|source| holds(out, source)) {
        let text = format!(
            "{} holds the model that is read; choose another folder",
            out.display()
        );
        return Err(StageError::usage(text));
    }
    let room = |earlier| Room {
        out: out.to_path_buf(),
        earlier,
    };
    let mut entries = std::fs::read_dir(out).or_failed()?;
    if entries.next().is_none() {
        return Ok(room(None));
    }
    let earlier = Manifest::read(&out.join(MANIFEST_FILE));
    let earlier = earlier.ok().filter(|found| found.stage == "export");
    if earlier.is_some() && overwrite {
        return Ok(room(earlier));
    }
    Err(StageError::usage(format!(
        "{} is not empty; choose another --output_dir{}",
        out.display(),
        if earlier.is_some() {
            ", or replace that export with --overwrite"
        } else {
            ""
        }
    )))
}

/// Whether `out` is this folder, or the one that this file really lies in.
fn holds(out: &Path, source: &Path) -> bool {
    // Resolved first: a bare name has no parent, a link has the wrong one.
    let (Ok(out), Ok(real)) = (out.canonicalize(), source.canonicalize()) else {
        return false;
    };
    if real.is_file() {
        return real.parent() == Some(&out);
    }
    real == out
}

impl Room {
    /// Deletes what the earlier export wrote, and what it may have begun: a file that stayed would be
    /// read beside the new ones.
    pub(crate) fn clear(&self) -> Result<(), StageError> {
        let Some(earlier) = &self.earlier else {
            return Ok(());
        };
        let out = &self.out;
        let inside = |path: &Path| path.components().all(|c| matches!(c, Component::Normal(_)));
        let named = earlier.outputs.iter().map(|file| Path::new(&file.path));
        let mut old: Vec<_> = named
            .filter(|path| inside(path))
            .map(|path| out.join(path))
            .collect();
        let complete = earlier.facts.get("complete") == Some(&true.into());
        for entry in std::fs::read_dir(out).or_failed()? {
            let path = entry.or_failed()?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if name.is_some_and(|name| weights::is_shard(name) || (!complete && is_ours(name))) {
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
}

/// Whether an export gives a file this name: one that was stopped has no list of its files.
fn is_ours(name: &str) -> bool {
    let besides = ["config.json", modelfile::FILE, CARD_FILE];
    is_weights(name) || besides.contains(&name) || tokenizer::FILES.contains(&name)
}

/// Whether an export gives this name to weights, their index, or an adapter.
fn is_weights(name: &str) -> bool {
    let mut types = OutType::ALL.into_iter();
    is_looked_for(name)
        || types.any(|t| gguf_model::file_name(t) == name || gguf_adapter::file_name(t) == name)
}

/// Whether programs that read a folder look for weights or an adapter by this name. A GGUF file is none of these: who
/// reads it names it.
pub(crate) fn is_looked_for(name: &str) -> bool {
    let fixed = [
        weights::SINGLE,
        weights::SINGLE_PART,
        weights::INDEX,
        lora::CONFIG_FILE,
        lora::WEIGHTS_FILE,
        lora::MLX_WEIGHTS_FILE,
    ];
    fixed.contains(&name) || weights::is_shard(name)
}
