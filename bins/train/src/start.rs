//! The adapter that training starts from, and the base that it starts beside.

use std::ops::ControlFlow;
use std::path::Path;

use loader::Opened;
use lora::{
    Adapter, Bias, Checkpoint, InitLoraWeights, LoraConfig, LoraError, Overrides, Residual,
    TargetModules,
};
use smollm_model::{Projection, Site};
use stage::{OrExit, Progress, StageError, interrupt};

use crate::args::{Args, DEFAULT_ALPHA, DEFAULT_R};
use crate::say;

/// A new adapter, or the one that was named, or the one that the model was named by; with the base
/// model's name in its config. Where it is to start with a part of the base, it only has the right
/// shapes: [`residual`] reads the weights.
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
            let fits = fits.and_then(|()| adapter.check_base(opened.checkpoint()));
            fits.map_err(|e| StageError::bad_data(e).context(named()))?;
            adapter
        }
        None => new(args, opened)?,
    };
    adapter.set_dropout(args.lora_dropout).or_usage()?;
    let revision = opened.revision().map(str::to_owned);
    adapter.set_base_model(Some(opened.base_name().to_owned()), revision);
    Ok(adapter)
}

fn new(args: &Args, opened: &Opened) -> Result<Adapter, StageError> {
    let (init, config, seed) = (args.init_lora_weights, new_config(args)?, args.seed);
    init.check(opened.config(), &config).or_usage()?;
    let made = if init.changes_base() {
        Adapter::init(opened.config(), config, seed)
    } else {
        Adapter::init_as(init, opened.checkpoint(), args.dtype.dtype(), config, seed)
    };
    made.map_err(init_error)
}

fn init_error(error: LoraError) -> StageError {
    match error {
        LoraError::Model(_) | LoraError::Decompose { .. } => StageError::bad_data(error),
        LoraError::Stopped => StageError::interrupted("interrupted; the same command begins again"),
        other => StageError::usage(other),
    }
}

/// Says what goes badly together.
pub(crate) fn advise(args: &Args) {
    let init = args.init_lora_weights;
    if init.changes_base() && args.lora_dropout > 0.0 {
        say(&format!(
            "note: {init} puts a part of each weight into the adapter, and --lora-dropout {} drops inputs of that part, \
             too; PEFT advises --lora-dropout 0",
            args.lora_dropout
        ));
    }
}

/// The weights that [`residual`] will take something out of: they cannot stay the blocks that a file has.
pub(crate) fn changed(args: &Args, start: &Adapter) -> Vec<(usize, Projection)> {
    let blocks = start.pairs().filter_map(|(site, _)| match site {
        Site::Block { layer, projection } => Some((layer, projection)),
        // Nothing is taken out of these two.
        Site::Embedding | Site::Head => None,
    });
    blocks
        .filter(|_| args.init_lora_weights.changes_base())
        .collect()
}

/// Takes what the adapter starts with out of the base, where `--init-lora-weights` says so: afterwards `start`, or what a
/// checkpoint `found` has learnt since, stands beside what is left.
pub(crate) fn residual(
    args: &Args,
    opened: &mut Opened,
    start: &mut Adapter,
    found: Option<&mut Checkpoint>,
) -> Result<Option<Residual>, StageError> {
    let init = args.init_lora_weights;
    if !init.changes_base() {
        return Ok(None);
    }
    let residual = if let Some(found) = found {
        let parts = Residual::split(start.config(), &found.adapter);
        let place = || format!("checkpoint {}", found.path.display());
        let (learnt, residual) = parts.map_err(|e| StageError::bad_data(e).context(place()))?;
        found.adapter = learnt;
        residual
    } else {
        *start = decomposed(args, opened, start)?;
        Residual::new(start.clone())
    };
    residual
        .take_out_of(opened.checkpoint_mut())
        .map_err(StageError::bad_data)?;
    Ok(Some(residual))
}

/// The adapter that starts with a part of each weight. It takes up to minutes, so Ctrl-C is heard between two of them.
fn decomposed(args: &Args, opened: &Opened, shape: &Adapter) -> Result<Adapter, StageError> {
    let (init, count) = (args.init_lora_weights, shape.pairs().count());
    say(&format!(
        "{init}: decomposing {count} weights; the base lacks what the adapter starts with while it learns"
    ));
    let progress = Progress::new(&format!("{init}, weights decomposed"), count as u64);
    let watch = || {
        progress.inc(1);
        if interrupt::requested() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let (config, dtype) = (shape.config().clone(), args.dtype.dtype());
    let made = Adapter::init_watched(init, opened.checkpoint(), dtype, config, args.seed, &watch);
    let adapter = made.map_err(init_error)?;
    progress.finish();
    Ok(adapter)
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
        bias: args.bias,
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
    if args.init_lora_weights != InitLoraWeights::Default {
        return different(
            "--init-lora-weights",
            args.init_lora_weights.to_string(),
            "its factors already".into(),
        );
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
        ("--bias", args.bias != Bias::None && new.bias != config.bias),
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
