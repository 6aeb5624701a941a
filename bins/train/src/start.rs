//! The adapter that training starts from.

use std::path::Path;

use loader::Opened;
use lora::{Adapter, LoraConfig, LoraError, Overrides, TargetModules};
use stage::{OrExit, StageError};

use crate::args::{Args, DEFAULT_ALPHA, DEFAULT_R};

/// A new adapter, or the one that was named, or the one that the model was named by; with the base
/// model's name in its config.
pub(crate) fn adapter(args: &Args, opened: &Opened) -> Result<Adapter, StageError> {
    let carried = || {
        opened
            .adapter()
            .map(|(dir, adapter)| (dir.to_owned(), adapter.clone()))
    };
    let given = match &args.init_adapter {
        Some(folder) => Some((folder.clone(), load(folder)?)),
        None => carried(),
    };
    let mut adapter = match given {
        Some((folder, adapter)) => {
            agree(args, adapter.config(), &folder)?;
            let named = || format!("adapter {}", folder.display());
            let fits = adapter.check(opened.config());
            fits.map_err(|e| StageError::bad_data(e).context(named()))?;
            adapter
        }
        None => new(args, opened)?,
    };
    adapter.set_dropout(args.lora_dropout).or_usage()?;
    let revision = args.revision.clone();
    adapter.set_base_model(Some(opened.base_name().to_owned()), revision);
    Ok(adapter)
}

fn new(args: &Args, opened: &Opened) -> Result<Adapter, StageError> {
    let made = opened.new_adapter(args.dtype.dtype(), new_config(args)?, args.seed);
    made.map_err(|error| match error {
        LoraError::Model(_) => StageError::bad_data(error),
        other => StageError::usage(other),
    })
}

fn load(folder: &Path) -> Result<Adapter, StageError> {
    Adapter::load(folder).map_err(|error| {
        let missing = matches!(&error, LoraError::Io { .. }) && !folder.is_dir();
        let error = StageError::bad_data(error);
        if missing {
            error.context(format!("no adapter folder {}", folder.display()))
        } else {
            error
        }
    })
}

/// The config of a new adapter; also what can be checked before any model is loaded.
pub(crate) fn new_config(args: &Args) -> Result<LoraConfig, StageError> {
    let targets = args.target_modules.clone();
    let ranks = args.rank_pattern.iter().map(|(key, r)| (key.as_str(), *r));
    let alphas = args.alpha_pattern.iter();
    let alphas = alphas.map(|(key, alpha)| (key.as_str(), *alpha));
    let config = LoraConfig {
        r: args.lora_r.unwrap_or(DEFAULT_R),
        lora_alpha: args.lora_alpha.unwrap_or(DEFAULT_ALPHA),
        lora_dropout: args.lora_dropout,
        target_modules: targets.unwrap_or_else(TargetModules::attention),
        exclude_modules: args.exclude_modules.clone(),
        layers_to_transform: args.layers_to_transform.clone(),
        rank_pattern: Overrides::new("rank_pattern", ranks).or_usage()?,
        alpha_pattern: Overrides::new("alpha_pattern", alphas).or_usage()?,
        use_rslora: args.rslora,
        use_dora: args.use_dora,
        ..LoraConfig::default()
    };
    config.checked().or_usage()
}

/// What was typed must be what the adapter says; what was not typed is taken from it.
fn agree(args: &Args, config: &LoraConfig, origin: &Path) -> Result<(), StageError> {
    let different = |flag: &str, typed: String, found: String| {
        Err(StageError::usage(format!(
            "{flag} is {typed}, but the adapter {} has {found}; leave the flag out or start from another adapter",
            origin.display()
        )))
    };
    if let Some(r) = args.lora_r.filter(|r| *r != config.r) {
        return different("--lora_r", r.to_string(), config.r.to_string());
    }
    if let Some(alpha) = args.lora_alpha.filter(|a| *a != config.lora_alpha) {
        let found = config.lora_alpha.to_string();
        return different("--lora_alpha", alpha.to_string(), found);
    }
    let targets = args.target_modules.as_ref();
    if let Some(targets) = targets.filter(|t| **t != config.target_modules) {
        let found = config.target_modules.to_string();
        return different("--target-modules", targets.to_string(), found);
    }
    let new = new_config(args)?;
    let others = [
        (
            "--exclude-modules",
            args.exclude_modules.is_some() && new.exclude_modules != config.exclude_modules,
        ),
        (
            "--layers-to-transform",
            args.layers_to_transform.is_some()
                && new.layers_to_transform != config.layers_to_transform,
        ),
        (
            "--rank-pattern",
            !args.rank_pattern.is_empty() && new.rank_pattern != config.rank_pattern,
        ),
        (
            "--alpha-pattern",
            !args.alpha_pattern.is_empty() && new.alpha_pattern != config.alpha_pattern,
        ),
    ];
    if let Some((flag, _)) = others.into_iter().find(|(_, differs)| *differs) {
        return different(flag, "set".into(), "another one".into());
    }
    if args.rslora && !config.use_rslora {
        return different("--rslora", "set".into(), "use_rslora = false".into());
    }
    if args.use_dora && !config.use_dora {
        return different("--use-dora", "set".into(), "use_dora = false".into());
    }
    Ok(())
}
