//! The flags of every stage that runs one model with adapters: which model it is.

use std::path::{Path, PathBuf};

use crate::{DEFAULT_MODEL, ModelSpec};

/// Which model.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct ModelArgs {
    /// The model: hub id, folder, .gguf file, or an adapter folder [default: HuggingFaceTB/SmolLM2-135M-Instruct]
    #[arg(long, value_name = "MODEL", aliases = ["model_name", "model"])]
    pub model_name: Option<String>,
    /// The base model, in place of the one that the adapter names; alone, the model
    #[arg(long, value_name = "MODEL", alias = "base_model")]
    pub base_model: Option<String>,
    /// Revision of a hub model
    #[arg(long)]
    pub revision: Option<String>,
}

impl ModelArgs {
    /// The model that is asked for, with this adapter, in F32. An adapter alone names its base itself.
    pub fn spec(&self, adapter: Option<&Path>) -> ModelSpec {
        let folder = adapter.map(|dir| dir.display().to_string());
        let base = self.base_model.clone().filter(|_| adapter.is_none());
        let named = self.model_name.clone().or(base).or(folder);
        ModelSpec {
            base_model: self.base_model.clone(),
            adapter_dir: adapter.map(Path::to_path_buf),
            revision: self.revision.clone(),
            ..ModelSpec::new(named.as_deref().unwrap_or(DEFAULT_MODEL))
        }
    }

    /// The model with each of these adapters; alone where there are none.
    pub fn specs(&self, adapters: &[PathBuf]) -> Vec<ModelSpec> {
        if adapters.is_empty() {
            return vec![self.spec(None)];
        }
        let each = adapters.iter().map(|dir| self.spec(Some(dir)));
        each.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_alone_is_the_model_and_beside_an_adapter_its_base() {
        let args = |model: Option<&str>, base: Option<&str>| ModelArgs {
            model_name: model.map(str::to_owned),
            base_model: base.map(str::to_owned),
            revision: None,
        };
        let names = |args: ModelArgs, adapter: Option<&str>| {
            let spec = args.spec(adapter.map(Path::new));
            (spec.model_name, spec.base_model)
        };
        let base = Some("b".to_owned());
        assert_eq!(
            names(args(None, None), None),
            (DEFAULT_MODEL.to_owned(), None)
        );
        assert_eq!(
            names(args(None, Some("b")), None),
            ("b".to_owned(), base.clone())
        );
        assert_eq!(names(args(None, None), Some("a")), ("a".to_owned(), None));
        assert_eq!(
            names(args(None, Some("b")), Some("a")),
            ("a".to_owned(), base.clone())
        );
        assert_eq!(
            names(args(Some("m"), Some("b")), Some("a")),
            ("m".to_owned(), base)
        );
        let folders = ["x", "y"].map(PathBuf::from);
        let specs = args(Some("m"), None).specs(&folders);
        let adapters: Vec<_> = specs
            .into_iter()
            .map(|spec| spec.adapter_dir.unwrap())
            .collect();
        assert_eq!(adapters, folders);
        assert_eq!(args(Some("m"), None).specs(&[]), [ModelSpec::new("m")]);
    }
}
