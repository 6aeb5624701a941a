//! From the command line to models that answer.

use std::path::Path;

use loader::{Model, Opened};
use stage::StageError;

use crate::args::Args;
use crate::models::{ModelName, Models};

/// Finds everything that is asked for, checks that it fits together, and loads it: one base, and adapters beside it.
pub(crate) fn load(args: &Args) -> Result<(Models, Model), StageError> {
    let mut opened: Vec<Opened> = Vec::new();
    for spec in args.model.specs(&args.adapter_dir) {
        if opened.is_empty() {
            opened.push(loader::open_base(&spec)?);
        }
        let one = loader::open(&spec)?;
        opened.extend(Some(one).filter(|one| one.adapter().is_some()));
    }
    let names = names(args, &opened)?;
    let all: Vec<&Opened> = opened.iter().collect();
    let model = loader::pack(&all, &args.inference)?;
    let Some(base) = opened.first() else {
        return Err(StageError::usage("no model is named"));
    };
    let (prompter, config) = (base.prompter().clone(), base.config().clone());
    let models = Models {
        stop_ids: loader::stop_ids(&prompter, &config, false).into(),
        config,
        prompter,
        names,
    };
    Ok((models, model))
}

/// What requests call the models, the base first.
fn names(args: &Args, opened: &[Opened]) -> Result<Vec<ModelName>, StageError> {
    let folders = loader::variant_names(opened)?;
    let mut names: Vec<ModelName> = Vec::with_capacity(folders.len());
    let mut numbers = 0..;
    for (one, folder) in opened.iter().zip(folders) {
        let trained: Option<&Path> = one.adapter().map(|(dir, _)| dir);
        let id = match trained {
            Some(_) => folder,
            None => args
                .model_id
                .clone()
                .unwrap_or_else(|| short(one.base_name())),
        };
        if names.iter().any(|name| name.id == id) {
            return Err(StageError::usage(format!(
                "two models would be called `{id}`; give the base another name with --model-id"
            )));
        }
        names.push(ModelName {
            id,
            adapter: trained.and_then(|_| numbers.next()),
            system: stage::system_prompt(args.system.as_deref(), trained, args.force_system)?,
        });
    }
    Ok(names)
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
