//! The formats that merge the adapter into the model.

use std::path::{Path, PathBuf};

use loader::{Loaded, Opened};
use serde_json::{Value, json};
use smollm_model::{ModelConfig, ModelFiles};
use stage::{OrExit, StageError};

use crate::args::{Args, Format};
use crate::{Written, gguf_model, load_error, modelfile, tokenizer, weights};

/// Merges the adapter of this folder, if there is one, and writes the model into `out`.
pub(crate) fn write(
    args: &Args,
    opened: Opened,
    adapter: Option<&Path>,
    license: Option<&str>,
    out: &Path,
) -> Result<Written, StageError> {
    let modelfile = args.modelfile.then(|| {
        modelfile::text(&modelfile::Source {
            from: format!("./{}", gguf_model::file_name(args.outtype())),
            adapter: None,
            prompter: opened.prompter(),
            config: opened.config(),
            system: stage::system_prompt(None, adapter, false)?.as_deref(),
        })
    });
    let modelfile = modelfile.transpose()?;
    let files = opened.files().clone();
    let loaded = merged(opened)?;
    let weights = loaded.model.named_weights();
    let mut written = match args.format {
        Format::Gguf => vec![gguf_model::write(
            out,
            &files,
            &loaded,
            args.outtype(),
            license,
        )?],
        _ => write_folder(args, &files, &loaded, out)?,
    };
    if let Some(text) = modelfile {
        written.push(modelfile::write(out, &text)?);
    }
    Ok(Written {
        files: written,
        tensors: weights.len(),
        parameters: weights.iter().map(|(_, tensor)| tensor.elem_count()).sum(),
    })
}

fn merged(opened: Opened) -> Result<Loaded, StageError> {
    let mut loaded = opened.load(loader::DType::F32).map_err(load_error)?;
    if let Some(adapter) = loaded.adapter.take() {
        // The low-rank branch goes before the weights take it in.
        loader::detach(&mut loaded.model);
        adapter.merge_into(&mut loaded.model).or_failed()?;
    }
    Ok(loaded)
}

/// A Hugging Face folder; `config.json`, which makes it a model, comes last.
fn write_folder(
    args: &Args,
    files: &ModelFiles,
    loaded: &Loaded,
    out: &Path,
) -> Result<Vec<PathBuf>, StageError> {
    let (dtype, name) = args.dtype.unwrap_or_default().stored();
    let most = args.max_shard_size();
    let mut written = weights::write(out, &loaded.model.named_weights(), dtype, most)?;
    written.extend(tokenizer::write(files, &loaded.prompter, out)?);
    let config = config(files, loaded.model.config(), name)?;
    written.push(out.join("config.json"));
    stage::write_json(&out.join("config.json"), &config)?;
    Ok(written)
}

/// The base's own `config.json` where it has one, with the new type; else one made for the model.
fn config(files: &ModelFiles, model: &ModelConfig, dtype: &str) -> Result<Value, StageError> {
    let ModelFiles::Dir(dir) = files else {
        return Ok(model.to_hf_json(dtype));
    };
    let text = std::fs::read_to_string(dir.join("config.json")).or_bad_data()?;
    let mut config: Value = serde_json::from_str(&text).or_bad_data()?;
    // transformers 5 says `dtype` where 4 said `torch_dtype`.
    let key = if config.get("dtype").is_some() {
        "dtype"
    } else {
        "torch_dtype"
    };
    config[key] = json!(dtype);
    config["tie_word_embeddings"] = json!(model.tie_word_embeddings);
    Ok(config)
}
