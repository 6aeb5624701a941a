//! The formats that merge the adapter into the model.

use std::path::{Path, PathBuf};

use loader::{Loaded, Opened};
use serde_json::{Value, json};
use smollm_model::{ModelConfig, ModelFiles, ModelSource};
use stage::{OrExit, StageError};

use crate::args::{Args, Format};
use crate::{Work, Written, gguf_model, modelfile, tokenizer, weights};

/// Merges the adapter of this folder, if there is one, and does everything but the writing.
pub(crate) fn prepare(
    args: &Args,
    opened: Opened,
    adapter: Option<&Path>,
    license: Option<&str>,
) -> Result<Work, StageError> {
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
    let tensors = weights.len();
    let parameters = weights.iter().map(|(_, tensor)| tensor.elem_count()).sum();
    let written = move |files| Written {
        files,
        tensors,
        parameters,
    };
    if args.format == Format::Safetensors {
        let folder = Folder::new(args, &files, loaded)?;
        return Ok(Box::new(move |out: &Path| Ok(written(folder.write(out)?))));
    }
    let file = gguf_model::prepare(&files, &loaded, args.outtype(), license)?;
    Ok(Box::new(move |out: &Path| {
        let mut files = vec![file.write(out)?];
        if let Some(text) = modelfile {
            files.push(modelfile::write(out, &text)?);
        }
        Ok(written(files))
    }))
}

fn merged(opened: Opened) -> Result<Loaded, StageError> {
    let mut loaded = opened.load(loader::DType::F32)?;
    if let Some(adapter) = loaded.adapter.take() {
        // The low-rank branch goes before the weights take it in.
        loader::detach(&mut loaded.model);
        adapter.merge_into(&mut loaded.model).or_failed()?;
    }
    Ok(loaded)
}

/// A Hugging Face folder of which nothing is written yet.
struct Folder {
    loaded: Loaded,
    dtype: loader::DType,
    max_shard_size: u64,
    tokenizer: Vec<tokenizer::Content>,
    config: Value,
}

impl Folder {
    fn new(args: &Args, files: &ModelFiles, loaded: Loaded) -> Result<Self, StageError> {
        let (dtype, name) = args.dtype.unwrap_or_default().stored();
        weights::check(&loaded.model.named_weights(), dtype)?;
        Ok(Self {
            dtype,
            max_shard_size: args.max_shard_size(),
            tokenizer: tokenizer::read(files, &loaded.prompter)?,
            config: config(files, loaded.model.config(), name)?,
            loaded,
        })
    }

    /// Writes it into `out`; `config.json`, which makes it a model, comes last.
    fn write(&self, out: &Path) -> Result<Vec<PathBuf>, StageError> {
        let weights = self.loaded.model.named_weights();
        let mut written = weights::write(out, &weights, self.dtype, self.max_shard_size)?;
        for (name, bytes) in &self.tokenizer {
            stage::write_bytes(&out.join(name), bytes)?;
            written.push(out.join(name));
        }
        let path = out.join("config.json");
        stage::write_json(&path, &self.config)?;
        written.push(path);
        Ok(written)
    }
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
    // transformers 4 wrote where the model was loaded from: a hub id, or a place on somebody's machine.
    let from = config.get("_name_or_path").and_then(Value::as_str);
    let known =
        from.is_none_or(|from| matches!(ModelSource::parse(from), Ok(ModelSource::Hub { .. })));
    if let (false, Some(object)) = (known, config.as_object_mut()) {
        object.shift_remove("_name_or_path");
    }
    Ok(config)
}
