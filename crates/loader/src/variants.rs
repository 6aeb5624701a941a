//! One base model with several adapters, each used by its number.

use std::collections::HashSet;
use std::path::Path;

use crate::{InferenceArgs, LoadError, Model, Opened};

/// Reads and packs the weights that all of `opened` share, once, with each one's adapter beside them: adapter `i` is that
/// of the `i`-th of those that have one, and no adapter is the base.
///
/// # Errors
/// If there is nothing to load, the bases differ, or a weight cannot be read or packed as asked, or a GPU cannot be had.
pub fn pack(opened: &[&Opened], args: &InferenceArgs) -> Result<Model, LoadError> {
    let Some(first) = opened.first() else {
        return Err(LoadError::Ambiguous("no model is named".to_owned()));
    };
    if let Some(other) = opened.iter().find(|o| o.files() != first.files()) {
        return Err(LoadError::Ambiguous(format!(
            "the adapters belong to two base models: {} and {}; give those of one base",
            first.description(),
            other.description()
        )));
    }
    let mut model = Model::load(first, args)?;
    for (dir, adapter) in opened.iter().filter_map(|opened| opened.adapter()) {
        let fits = adapter.check(first.config()).and_then(|()| {
            model.add_adapter(adapter.updates())?;
            Ok(())
        });
        fits.map_err(|source| LoadError::Adapter {
            dir: dir.to_path_buf(),
            source: Box::new(source),
        })?;
    }
    Ok(model)
}

/// A name for each of several models on one base, all different: `base`, or the adapter's folder, with the folder that it
/// is in where two are called the same.
///
/// # Errors
/// If even so two names are the same.
pub fn variant_names(opened: &[Opened]) -> Result<Vec<String>, LoadError> {
    let named = |depth: usize| -> Vec<String> {
        let name = |one: &Opened| one.adapter().map(|(dir, _)| folder_name(dir, depth));
        let names = opened.iter().map(name);
        names
            .map(|name| name.unwrap_or_else(|| BASE.to_owned()))
            .collect()
    };
    let different = |names: &Vec<String>| names.iter().collect::<HashSet<_>>().len() == names.len();
    let found = [named(1), named(2)].into_iter().find(different);
    found.ok_or_else(|| {
        LoadError::Ambiguous(format!(
            "two adapters of one name among {}; give each once, in folders of different names",
            named(2).join(", ")
        ))
    })
}

/// The name of the model without an adapter.
const BASE: &str = "base";

/// The last `depth` parts of a folder's path, joined by `-`.
fn folder_name(dir: &Path, depth: usize) -> String {
    let whole = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_path_buf());
    let parts: Vec<_> = whole
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    parts[parts.len().saturating_sub(depth)..].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_are_named_after_their_folders() {
        assert_eq!(folder_name(Path::new("no/such/r8"), 1), "r8");
        assert_eq!(folder_name(Path::new("no/such/r8/"), 2), "such-r8");
    }
}
