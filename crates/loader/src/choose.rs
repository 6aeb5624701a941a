//! Which of the names is the base and which the adapter.

use std::path::{Path, PathBuf};

use lora::Adapter;

use crate::{LoadError, ModelSpec, is_adapter};

/// What the names mean.
pub(crate) struct Choice {
    /// The base model, as it was named.
    pub(crate) base: String,
    /// The revision that goes with it.
    pub(crate) revision: Option<String>,
    /// Whether the name comes from the adapter's config and not from the user.
    pub(crate) named_by_adapter: bool,
    /// The adapter and its folder.
    pub(crate) adapter: Option<(PathBuf, Adapter)>,
}

/// See the table in the crate's documentation.
pub(crate) fn choose(spec: &ModelSpec) -> Result<Choice, LoadError> {
    let model = Path::new(&spec.model_name);
    let dir = match (&spec.adapter_dir, is_adapter(model)) {
        (Some(dir), true) if dir != model => {
            return Err(LoadError::Ambiguous(format!(
                "two adapters: the model `{}` is an adapter folder itself, and {} is another; give \
                 one of them",
                spec.model_name,
                dir.display()
            )));
        }
        (Some(dir), _) => Some(dir.clone()),
        (None, true) => Some(model.to_path_buf()),
        (None, false) => None,
    };
    let Some(dir) = dir else {
        return Ok(plain(
            spec,
            named_base(spec)?.unwrap_or_else(|| spec.model_name.clone()),
            None,
        ));
    };
    if !is_adapter(&dir) {
        return Err(LoadError::NotAnAdapter { dir });
    }
    let adapter = Adapter::load(&dir).map_err(|source| LoadError::Adapter {
        dir: dir.clone(),
        source: Box::new(source),
    })?;
    if let Some(base) = named_base(spec)? {
        return Ok(plain(spec, base, Some((dir, adapter))));
    }
    let config = adapter.config();
    let Some(base) = config
        .base_model_name_or_path
        .clone()
        .filter(|name| !name.is_empty())
    else {
        return Err(LoadError::NoBase { dir });
    };
    Ok(Choice {
        base,
        revision: spec.revision.clone().or_else(|| config.revision.clone()),
        named_by_adapter: true,
        adapter: Some((dir, adapter)),
    })
}

fn plain(spec: &ModelSpec, base: String, adapter: Option<(PathBuf, Adapter)>) -> Choice {
    Choice {
        base,
        revision: spec.revision.clone(),
        named_by_adapter: false,
        adapter,
    }
}

/// The base that the user named, if any: `base_model`, or a `model_name` that is no adapter.
fn named_base(spec: &ModelSpec) -> Result<Option<String>, LoadError> {
    let model = (!is_adapter(Path::new(&spec.model_name))).then_some(&spec.model_name);
    match (&spec.base_model, model) {
        (Some(base), Some(model)) if base != model => Err(LoadError::Ambiguous(format!(
            "two models: `{model}` and base model `{base}`; give an adapter folder and its base, \
             or one model"
        ))),
        (Some(base), _) => Ok(Some(base.clone())),
        (None, model) => Ok(model.cloned()),
    }
}
