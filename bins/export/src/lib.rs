//! Write a model, its adapter merged, or the adapter alone, in the formats of other programs.
//!
//! | format | read by | what it is |
//! |---|---|---|
//! | `safetensors` | transformers, vLLM, llama.cpp's converter, every stage here | a Hugging Face folder, merged |
//! | `gguf` | llama.cpp, Ollama, every stage here | one file, merged |
//! | `gguf-adapter` | llama.cpp, Ollama | the adapter, to stand beside a GGUF file |
//! | `peft` | PEFT, vLLM, llama.cpp's converter, every stage here | the adapter |
//! | `mlx` | mlx-lm | the adapter |
//!
//! The file that makes a folder a model or an adapter is written last, so an export that was stopped
//! cannot be mistaken for one; `manifest.json` says from the first moment whose the folder is.

#![forbid(unsafe_code)]

mod args;
mod card;
mod gguf_adapter;
mod gguf_model;
mod gguf_tensors;
mod gguf_vocabulary;
mod modelfile;
mod range;
mod room;
mod scores;
mod tokenizer;
mod weights;

use std::path::{Path, PathBuf};

use loader::{Adapter, LoadError, Loaded, Opened};
use serde::Serialize;
use serde_json::{Value, json};
use smollm_model::{ModelConfig, ModelFiles};
use stage::{Manifest, OrExit, StageError};

pub use args::{Args, Dialect, Format, OutType, Precision};
use card::Card;
use scores::Scores;

/// Safetensors files are split above this, as transformers 4 does.
const SHARD_BYTES: u64 = 5_000_000_000;
const MANIFEST_FILE: &str = "manifest.json";
const CARD_FILE: &str = "README.md";

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The folder.
    pub output_dir: String,
    /// The format.
    pub format: &'static str,
    /// The base model.
    pub model: String,
    /// The adapter that was merged or converted, if any.
    pub adapter: Option<String>,
    /// Tensors written.
    pub tensors: usize,
    /// Numbers in them.
    pub parameters: usize,
    /// The files, by their names in the folder.
    pub files: Vec<String>,
}

/// What a format's writer gives back: files in the order they were written, tensors, numbers.
struct Written {
    files: Vec<PathBuf>,
    tensors: usize,
    parameters: usize,
}

/// Runs the stage and prints what came of it.
///
/// # Errors
/// As [`export`]; also when standard output cannot be written.
pub fn run(args: &Args) -> Result<(), StageError> {
    let summary = export(args)?;
    if args.json {
        return stage::emit_json(&summary);
    }
    let what = match &summary.adapter {
        None => summary.model.clone(),
        Some(adapter) if args.format.is_adapter() => adapter.clone(),
        Some(adapter) => format!("{} with {adapter} merged", summary.model),
    };
    stage::emit(&format!(
        "{what}: {} tensors, {} parameters in {} ({})",
        summary.tensors,
        summary.parameters,
        summary.output_dir,
        summary.files.join(", ")
    ))
}

/// Does the work of the stage and prints nothing on standard output.
///
/// # Errors
/// Exit code 2 for flags that contradict each other or a folder that is not empty, 3 for models that
/// cannot be read, or cannot be said in the format, 1 when writing fails.
pub fn export(args: &Args) -> Result<Summary, StageError> {
    args.check()?;
    let scores = args.report.as_deref().map(Scores::read).transpose()?;
    let opened = loader::open(&args.model()).map_err(load_error)?;
    let adapter = opened
        .adapter()
        .map(|(dir, adapter)| (dir.to_path_buf(), adapter.clone()));
    let dir = adapter.as_ref().map(|(dir, _)| dir.as_path());
    if args.format.is_adapter() && dir.is_none() {
        return Err(StageError::usage(format!(
            "--format {} writes an adapter, and there is none; name its folder with --adapter-dir",
            args.format.name()
        )));
    }
    let out = args.output_dir();
    let sources: Vec<&Path> = dir.into_iter().chain([opened.files().path()]).collect();
    room::make(&out, args.overwrite, &sources)?;

    let mut manifest = manifest(args, &opened, dir)?;
    manifest.write(&out.join(MANIFEST_FILE))?;
    let (base, files) = (opened.base_name().to_owned(), opened.files().clone());
    let license = args.license.clone().or_else(|| card::license_of(&files));
    let written = match (&adapter, args.format) {
        (Some((dir, adapter)), format) if format.is_adapter() => {
            let source = Source {
                dir,
                adapter,
                opened: &opened,
            };
            write_adapter(args, &source, &out)?
        }
        _ => write_model(args, opened, dir, license.as_deref(), &out)?,
    };
    for path in &written.files {
        manifest.add_output(path)?;
    }
    let card = Card {
        format: args.format,
        base: &base,
        adapter: dir,
        license: license.as_deref(),
        scores: scores.as_ref(),
        manifest: &manifest,
    };
    let path = out.join(CARD_FILE);
    stage::write_text(&path, &card.text())?;
    manifest.add_output(&path)?;
    manifest = manifest.fact("complete", true);
    manifest.write(&out.join(MANIFEST_FILE))?;
    let names = manifest.outputs.iter().map(|file| last_part(&file.path));
    Ok(Summary {
        output_dir: out.display().to_string(),
        format: args.format.name(),
        model: manifest.model.clone().unwrap_or_default(),
        adapter: manifest.adapter.clone(),
        tensors: written.tensors,
        parameters: written.parameters,
        files: names.collect(),
    })
}

/// The record of the work, before any of it is done.
fn manifest(args: &Args, opened: &Opened, adapter: Option<&Path>) -> Result<Manifest, StageError> {
    let mut manifest = Manifest::new("export")
        .argument("format", args.format.name())
        .fact("complete", false);
    manifest = match args.format {
        Format::Safetensors => {
            let (_, name) = args.dtype.unwrap_or_default().stored();
            let most = args.max_shard_size.unwrap_or(SHARD_BYTES);
            manifest
                .argument("dtype", name)
                .argument("max_shard_size", most)
        }
        Format::Gguf | Format::GgufAdapter => manifest
            .argument("outtype", outtype(args).name())
            .argument("modelfile", args.modelfile),
        Format::Peft => {
            let portable = args.dialect.unwrap_or_default() == Dialect::Portable;
            manifest.argument("dialect", if portable { "portable" } else { "native" })
        }
        Format::Mlx => manifest,
    };
    manifest.model = Some(opened.description().to_owned());
    manifest.adapter = adapter.map(|dir| dir.display().to_string());
    manifest.template = Some(opened.prompter().template_hash());
    for path in opened.weight_files().map_err(load_error)? {
        // An adapter's formats hold nothing of the base.
        let of_adapter = adapter.is_some_and(|dir| path.parent() == Some(dir));
        if of_adapter || !args.format.is_adapter() {
            manifest.add_input(&path)?;
        }
    }
    if let Some(report) = &args.report {
        manifest.add_input(report)?;
    }
    Ok(manifest)
}

fn outtype(args: &Args) -> OutType {
    let default = if args.format.is_adapter() {
        OutType::F32
    } else {
        OutType::F16
    };
    args.outtype.unwrap_or(default)
}

/// An adapter and the base that it belongs to.
struct Source<'a> {
    dir: &'a Path,
    adapter: &'a Adapter,
    opened: &'a Opened,
}

/// Writes the adapter's own formats.
fn write_adapter(args: &Args, source: &Source, out: &Path) -> Result<Written, StageError> {
    let (model, base) = (source.opened.config(), source.opened.base_name());
    let layers = model.num_hidden_layers;
    let files = match args.format {
        Format::Peft => {
            let adapter = match args.dialect.unwrap_or_default() {
                Dialect::Native => source.adapter.clone(),
                Dialect::Portable => source.adapter.portable(layers).or_failed()?,
            };
            adapter.save(out).or_failed()?;
            [lora::WEIGHTS_FILE, lora::CONFIG_FILE]
                .map(|name| out.join(name))
                .into()
        }
        Format::Mlx => {
            source.adapter.save_mlx(out, layers).or_failed()?;
            [lora::MLX_WEIGHTS_FILE, lora::CONFIG_FILE]
                .map(|name| out.join(name))
                .into()
        }
        _ => {
            let path = gguf_adapter::write(out, source.adapter, model, base, outtype(args))?;
            let mut files = vec![path];
            if args.modelfile {
                files.push(modelfile::write(
                    out,
                    &modelfile::Source {
                        // Ollama wants to know where the base is; the base itself is not written.
                        from: absolute(source.opened.files().path())?,
                        adapter: Some(format!("./{}", last_part(&files[0].display().to_string()))),
                        prompter: source.opened.prompter(),
                        config: model,
                        system: stage::system_prompt(None, Some(source.dir), false)?.as_deref(),
                    },
                )?);
            }
            files
        }
    };
    Ok(Written {
        files,
        tensors: source.adapter.tensors().len(),
        parameters: source.adapter.parameters(),
    })
}

/// Merges, and writes a model.
fn write_model(
    args: &Args,
    opened: Opened,
    adapter: Option<&Path>,
    license: Option<&str>,
    out: &Path,
) -> Result<Written, StageError> {
    let files = opened.files().clone();
    let mut loaded = opened.load(loader::DType::F32).map_err(load_error)?;
    if let Some(adapter) = loaded.adapter.take() {
        // The low-rank branch goes before the weights take it in.
        loader::detach(&mut loaded.model);
        adapter.merge_into(&mut loaded.model).or_failed()?;
    }
    let weights = loaded.model.named_weights();
    let tensors = weights.len();
    let parameters = weights.iter().map(|(_, tensor)| tensor.elem_count()).sum();
    let written = if args.format == Format::Gguf {
        let mut written = vec![gguf_model::write(
            out,
            &files,
            &loaded,
            outtype(args),
            license,
        )?];
        if args.modelfile {
            written.push(modelfile::write(
                out,
                &modelfile::Source {
                    from: format!("./{}", last_part(&written[0].display().to_string())),
                    adapter: None,
                    prompter: &loaded.prompter,
                    config: loaded.model.config(),
                    system: stage::system_prompt(None, adapter, false)?.as_deref(),
                },
            )?);
        }
        written
    } else {
        write_folder(args, &files, &loaded, out)?
    };
    Ok(Written {
        files: written,
        tensors,
        parameters,
    })
}

fn write_folder(
    args: &Args,
    files: &ModelFiles,
    loaded: &Loaded,
    out: &Path,
) -> Result<Vec<PathBuf>, StageError> {
    let (dtype, name) = args.dtype.unwrap_or_default().stored();
    let most = args.max_shard_size.unwrap_or(SHARD_BYTES);
    let mut written = weights::write(out, &loaded.model.named_weights(), dtype, most)?;
    written.extend(tokenizer::write(files, &loaded.prompter, out)?);
    let config = config(files, loaded.model.config(), name)?;
    written.push(out.join("config.json"));
    stage::write_json(&out.join("config.json"), &config)?;
    Ok(written)
}

fn load_error(error: LoadError) -> StageError {
    if error.is_usage() {
        StageError::usage(error)
    } else {
        StageError::bad_data(error)
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
    Ok(config)
}

/// The last part of a path or hub id: a name without a place.
fn last_part(name: &str) -> String {
    let name = name.trim_end_matches('/');
    name.rsplit('/').next().unwrap_or(name).to_owned()
}

fn absolute(path: &Path) -> Result<String, StageError> {
    let path = path.canonicalize().or_failed()?;
    Ok(path.display().to_string())
}
