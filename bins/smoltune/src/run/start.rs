//! A run whose model is an adapter: it goes on from it, beside the base that the adapter names. "Before" is the adapter as
//! it is, "after" what more training has made of it.

use std::path::Path;

use stage::StageError;

use crate::config::Config;

/// Keys of `[train]` that an adapter to start from decides.
pub(crate) const OF_THE_ADAPTER: [&str; 11] = [
    "lora_r",
    "lora_alpha",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "rank_pattern",
    "alpha_pattern",
    "rslora",
    "use_dora",
    "init_lora_weights",
    "bias",
];

/// Whether the model is an adapter's folder.
pub(crate) fn is_adapter(config: &Config) -> bool {
    loader::is_adapter(Path::new(&config.model.name))
}

/// Whether training starts from an adapter, which decides [`OF_THE_ADAPTER`].
pub(crate) fn from_adapter(config: &Config) -> bool {
    !config.train.init_adapter.is_empty() || is_adapter(config)
}

/// Takes over the system prompt that the model was trained with, where it is an adapter, so that every step has the same.
///
/// # Errors
/// Exit code 2 if another one is asked for.
pub(crate) fn take_over_system(config: &mut Config) -> Result<(), StageError> {
    if !is_adapter(config) {
        return Ok(());
    }
    let asked = Some(config.model.system.as_str()).filter(|text| !text.is_empty());
    let folder = Path::new(&config.model.name);
    let system = stage::system_prompt(asked, Some(folder), false).map_err(|_| {
        StageError::usage(format!(
            "model.system: {} was trained with another system prompt than {:?}; leave it out to go on with that one",
            config.model.name, config.model.system
        ))
    })?;
    config.model.system = system.unwrap_or_default();
    Ok(())
}
