//! One base model with several adapters, each used by its number.

use std::collections::HashSet;
use std::path::Path;

use smollm_model::{Decoder, Device, KvCache, Llama, ModelConfig, ModelError, Segment};

use crate::{DType, LoadError, Opened};

/// A base model beside the same model with each of several adapters; the base's weights are read and kept once.
///
/// As a [`Decoder`], adapter `i` is the `i`-th of the [`Opened`] that have one, and no adapter is the base.
#[derive(Debug)]
pub struct Variants {
    /// The base, then one for each adapter.
    models: Vec<Llama>,
}

impl Variants {
    /// Reads the weights that all of `opened` share, and attaches each one's adapter to its own view of them.
    ///
    /// # Errors
    /// If there is nothing to load, the bases differ, or a weight cannot be read.
    pub fn load(opened: &[&Opened], dtype: DType) -> Result<Self, LoadError> {
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
        let base = Llama::load(first.checkpoint(), dtype, &Device::Cpu)?;
        let mut models = vec![base.clone()];
        for (dir, adapter) in opened.iter().filter_map(|opened| opened.adapter()) {
            let mut model = base.clone();
            let fits = adapter.attach(&mut model);
            fits.map_err(|source| LoadError::Adapter {
                dir: dir.to_path_buf(),
                source: Box::new(source),
            })?;
            models.push(model);
        }
        Ok(Self { models })
    }
}

impl Decoder for &Variants {
    type Cache = KvCache;

    fn config(&self) -> &ModelConfig {
        self.models[0].config()
    }

    fn adapters(&self) -> usize {
        self.models.len() - 1
    }

    fn copy_prefix(&self, from: &KvCache, tokens: usize, to: &mut KvCache) {
        (&self.models[0]).copy_prefix(from, tokens, to);
    }

    /// One pass for each variant that has a segment; a row's result does not depend on its batch, so this is the same.
    fn pass(&mut self, segments: &mut [Segment<'_, KvCache>]) -> Result<Vec<f32>, ModelError> {
        let wanted: Vec<bool> = segments.iter().map(|segment| segment.logits).collect();
        let mut rows: Vec<Vec<f32>> = vec![Vec::new(); segments.len()];
        for (number, mut model) in self.models.iter().enumerate() {
            let (places, mut own): (Vec<usize>, Vec<_>) = segments
                .iter_mut()
                .enumerate()
                .filter(|(_, segment)| segment.adapter.map_or(0, |adapter| adapter + 1) == number)
                .map(|(place, segment)| (place, reborrow(segment)))
                .unzip();
            if own.is_empty() {
                continue;
            }
            let logits = model.pass(&mut own)?;
            let found = logits.chunks_exact(model.config().vocab_size);
            let asked = places.into_iter().filter(|place| wanted[*place]);
            for (place, row) in asked.zip(found) {
                rows[place] = row.to_vec();
            }
        }
        Ok(rows.concat())
    }
}

fn reborrow<'a, C>(segment: &'a mut Segment<'_, C>) -> Segment<'a, C> {
    Segment {
        ids: segment.ids,
        cache: &mut *segment.cache,
        adapter: None,
        phase: segment.phase,
        logits: segment.logits,
    }
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
