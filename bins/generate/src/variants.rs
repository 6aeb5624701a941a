//! The model with each of its adapters, and where each one's answers go.
//!
//! How the model runs is decided in [`load`] alone; everything else is written for any decoder.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use loader::{InferenceArgs, Model, Opened};
use stage::StageError;

use crate::args::Args;

/// The base model, alone or with one adapter.
#[derive(Debug)]
pub(crate) struct Variant {
    /// The adapter's folder, or `base`.
    pub(crate) name: String,
    /// The adapter's number in the loaded model.
    pub(crate) adapter: Option<usize>,
    /// Files, template and tokenizer.
    pub(crate) opened: Opened,
}

impl Variant {
    /// The adapter's folder, if there is one.
    pub(crate) fn adapter_dir(&self) -> Option<String> {
        let adapter = self.opened.adapter();
        adapter.map(|(dir, _)| dir.display().to_string())
    }
}

/// Finds everything that is asked for, and checks that it fits together; reads no weights. The base, where it is wanted,
/// is first.
///
/// # Errors
/// Exit code 2 for names that contradict each other, 3 for files that cannot be used.
pub(crate) fn open(args: &Args) -> Result<Vec<Variant>, StageError> {
    let mut found = Vec::new();
    let specs = args.model.specs(&args.adapter_dir);
    if let Some(spec) = specs.first().filter(|_| args.with_base) {
        found.push(loader::open_base(spec)?);
    }
    for spec in &specs {
        let opened = loader::open(spec)?;
        // Without an adapter this is the base, which is there already.
        if !args.with_base || opened.adapter().is_some() {
            found.push(opened);
        }
    }
    let names = loader::variant_names(&found)?;
    let mut number = 0..;
    let variant = |(opened, name): (Opened, String)| {
        let trained = opened.adapter().map(|(dir, _)| dir);
        let system = stage::system_prompt(args.system.as_deref(), trained, args.force_system)?;
        Ok(Variant {
            name,
            adapter: opened.adapter().and_then(|_| number.next()),
            opened: opened.with_system(system).with_date(args.date),
        })
    };
    found.into_iter().zip(names).map(variant).collect()
}

/// Reads the weights, once for all variants.
///
/// # Errors
/// Exit code 2 if the adapters belong to different models, 3 if a weight cannot be read.
pub(crate) fn load(variants: &[Variant], args: &InferenceArgs) -> Result<Model, StageError> {
    let opened: Vec<&Opened> = variants.iter().map(|variant| &variant.opened).collect();
    loader::pack(&opened, args).map_err(StageError::from)
}

/// `after.jsonl` for a variant: `after-NAME.jsonl`.
pub(crate) fn out_file(out: &Path, name: &str) -> PathBuf {
    let mut file = OsString::from(out.file_stem().unwrap_or_default());
    file.push("-");
    file.push(name);
    if let Some(extension) = out.extension() {
        file.push(".");
        file.push(extension);
    }
    out.with_file_name(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_after_the_variant() {
        let name = |out: &str| out_file(Path::new(out), "r8").display().to_string();
        assert_eq!(name("a/after.jsonl"), "a/after-r8.jsonl");
        assert_eq!(name("after"), "after-r8");
    }
}
