//! From the command line to models that answer.

use loader::{LoadError, Loaded};
use stage::StageError;

use crate::args::Args;
use crate::models::{ModelName, Models};

/// Loads the model; returns it with all that the server needs to know of it.
pub(crate) fn load(args: &Args) -> Result<(Models, smollm_model::Llama), StageError> {
    let spec = args.model();
    let opened = loader::open(&spec).map_err(load_error)?;
    let trained = opened.adapter().map(|(dir, _)| dir);
    let system = stage::system_prompt(args.system.as_deref(), trained, args.force_system)?;
    let named = trained.map_or(opened.base_name(), |dir| dir.to_str().unwrap_or("adapter"));
    let id = args.model_id.clone().unwrap_or_else(|| short(named));
    let Loaded {
        model, prompter, ..
    } = opened.load(spec.dtype).map_err(load_error)?;
    let models = Models {
        stop_ids: loader::stop_ids(&prompter, model.config(), false).into(),
        config: model.config().clone(),
        prompter,
        names: vec![ModelName {
            id,
            adapter: None,
            system,
        }],
    };
    Ok((models, model))
}

/// The last part of a hub id or path, without the revision or the ending of GGUF files.
fn short(name: &str) -> String {
    let last = name
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or(name);
    let last = last.split('@').next().unwrap_or(last);
    last.strip_suffix(".gguf").unwrap_or(last).to_owned()
}

fn load_error(error: LoadError) -> StageError {
    if error.is_usage() {
        StageError::usage(error)
    } else {
        StageError::bad_data(error)
    }
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn ids_are_short() {
        for (name, id) in [
            (
                "HuggingFaceTB/SmolLM2-135M-Instruct",
                "SmolLM2-135M-Instruct",
            ),
            (
                "HuggingFaceTB/SmolLM2-135M-Instruct@v1",
                "SmolLM2-135M-Instruct",
            ),
            ("/models/tiny.Q4_1.gguf", "tiny.Q4_1"),
            ("runs/adapter/", "adapter"),
        ] {
            assert_eq!(short(name), id);
        }
    }
}
