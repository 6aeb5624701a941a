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

/// What counts where nothing is asked for: sized for two CPU cores and a few minutes; all linear
/// layers and a high learning rate, because so few steps must teach a form of answer. Measured:
/// docs/guide.md.
const PRESET: &str = "fast";

/// Do it all with nothing prepared, in a few minutes.
#[derive(ClapArgs, Debug)]
#[command(
    after_help = "Model: SmolLM2-135M-Instruct from the hub, else from PyPI, else a tiny one \
    inside this program. Rows: Dolly from the hub, else some 250 rows inside this program. \
    --model and --source choose for yourself."
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
    let flags = &args.overrides;
    let model = match &flags.model_name {
        Some(asked) => choice::Choice::asked_for(asked),
        None => model::choose(&cache, hub.as_ref(), args.offline)?,
    };
    let data = match &flags.source {
        Some(asked) => choice::Choice::asked_for(asked),
        None => data::choose(&cache, hub.as_ref())?,
    };
    say(&model.told("model"));
    say(&data.told("rows"));
    let base = Config {
        out: PathBuf::from("runs/quickstart"),
        ..Config::default()
    };
    let preset = flags.preset.as_deref().unwrap_or(PRESET);
    let chosen = chosen(&model.value, &data.value, preset);
    let config = config::resolve(&base, Some(preset), chosen, flags, args.recipe.entries())?;
    stage::create_folder(&config.out)?;
    stage::write_json(&config.out.join("quickstart.json"), &[model, data])?;
    run::all_steps(&config, args.json)
}

/// What was settled on, as a file would say it.
fn chosen(model: &str, source: &str, preset: &str) -> Table {
    let mut data = Table::from_iter([("source".to_owned(), source.into())]);
    if source == data::HUB_ID && preset == PRESET {
        // Dolly's rows are about three times as long as ours.
        data.insert("train".into(), 80.into());
    }
    let model = Table::from_iter([("name".to_owned(), model.into())]);
    Table::from_iter([
        ("model".to_owned(), model.into()),
        ("data".to_owned(), data.into()),
    ])
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
