//! Write a model as a Hugging Face folder, its adapter merged into the weights.
//!
//! What comes out is read by transformers, vLLM, llama.cpp's converter and by every stage here, and
//! needs no adapter any more. `config.json` is written last: a folder without it is no model, so an
//! export that was stopped cannot be mistaken for one.

#![forbid(unsafe_code)]

mod tokenizer;
mod weights;

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use loader::{DEFAULT_MODEL, DType, LoadError, ModelSpec};
use serde::Serialize;
use serde_json::{Value, json};
use smollm_model::{ModelConfig, ModelFiles};
use stage::{Manifest, OrExit, StageError};

/// Write a model, its adapter merged, as a Hugging Face folder.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "export", version)]
pub struct Args {
    /// The model: hub id, folder, .gguf file, or an adapter folder [default: HuggingFaceTB/SmolLM2-135M-Instruct]
    #[arg(long, value_name = "MODEL", aliases = ["model_name", "model"])]
    pub model_name: Option<String>,
    /// The base model, in place of the one that the adapter names; alone, the model
    #[arg(long, value_name = "MODEL", alias = "base_model")]
    pub base_model: Option<String>,
    /// Adapter to merge into the model
    #[arg(long, value_name = "DIR", aliases = ["adapter_dir", "adapter"])]
    pub adapter_dir: Option<PathBuf>,
    /// Revision of a hub model
    #[arg(long)]
    pub revision: Option<String>,
    /// Folder to write into; made if need be
    #[arg(long, value_name = "DIR", default_value = "merged", aliases = ["output_dir", "out"])]
    pub output_dir: PathBuf,
    /// How the weights are stored; the merge itself is done in f32
    #[arg(long, value_enum, default_value_t)]
    pub dtype: Precision,
    /// Replace what an earlier export left in the folder
    #[arg(long)]
    pub overwrite: bool,
    /// Print the outcome as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// How weights are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// 32 bits: nothing of the merge is lost
    #[default]
    #[value(alias = "float32")]
    F32,
    /// 16 bits, with f32's range: half the size
    #[value(alias = "bfloat16")]
    Bf16,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The folder.
    pub output_dir: String,
    /// The base model.
    pub model: String,
    /// The adapter that was merged, if any.
    pub adapter: Option<String>,
    /// Tensors written.
    pub tensors: usize,
    /// Numbers in them.
    pub parameters: usize,
}

impl Args {
    fn model(&self) -> ModelSpec {
        let adapter = self
            .adapter_dir
            .as_ref()
            .map(|dir| dir.display().to_string());
        let base = if adapter.is_some() {
            None
        } else {
            self.base_model.clone()
        };
        let named = self.model_name.clone().or(base).or(adapter);
        ModelSpec {
            model_name: named.unwrap_or_else(|| DEFAULT_MODEL.to_owned()),
            base_model: self.base_model.clone(),
            adapter_dir: self.adapter_dir.clone(),
            revision: self.revision.clone(),
            // Rounded once, after the merge.
            dtype: DType::F32,
        }
    }

    fn stored(&self) -> (DType, &'static str) {
        match self.dtype {
            Precision::F32 => (DType::F32, "float32"),
            Precision::Bf16 => (DType::BF16, "bfloat16"),
        }
    }
}

/// Runs the stage and prints what came of it.
///
/// # Errors
/// As [`merge`]; also when standard output cannot be written.
pub fn run(args: &Args) -> Result<(), StageError> {
    let summary = merge(args)?;
    if args.json {
        return stage::emit_json(&summary);
    }
    let what = summary.adapter.as_ref().map_or_else(
        || summary.model.clone(),
        |adapter| format!("{} with {adapter} merged", summary.model),
    );
    stage::emit(&format!(
        "{what}: {} tensors, {} parameters in {}",
        summary.tensors, summary.parameters, summary.output_dir
    ))
}

/// Does the work of the stage and prints nothing on standard output.
///
/// # Errors
/// Exit code 2 for flags that contradict each other or a folder that is not empty, 3 for models that
/// cannot be read, 1 when writing fails.
pub fn merge(args: &Args) -> Result<Summary, StageError> {
    let opened = loader::open(&args.model()).map_err(load_error)?;
    let out = &args.output_dir;
    make_room(out, args.overwrite, opened.files().path())?;
    let adapter = opened
        .adapter()
        .map(|(dir, adapter)| (dir.to_path_buf(), adapter.clone()));
    let files = opened.files().clone();
    let mut manifest = Manifest::new("export").argument("dtype", args.stored().1);
    manifest.model = Some(opened.description().to_owned());
    manifest.adapter = adapter.as_ref().map(|(dir, _)| dir.display().to_string());
    manifest.template = Some(opened.prompter().template_hash());
    for path in opened.weight_files().map_err(load_error)? {
        manifest.add_input(&path)?;
    }

    let mut loaded = opened.load(DType::F32).map_err(load_error)?;
    if let Some((_, adapter)) = &adapter {
        lora_merge(adapter, &mut loaded.model)?;
    }
    let (dtype, name) = args.stored();
    let weights = loaded.model.named_weights();
    let parameters = weights.iter().map(|(_, tensor)| tensor.elem_count()).sum();
    let mut written = vec![weights::write(out, &weights, dtype)?];
    written.extend(tokenizer::write(&files, &loaded.prompter, out)?);
    let config = config(&files, loaded.model.config(), name)?;
    written.push(out.join("config.json"));
    stage::write_json(&out.join("config.json"), &config)?;
    for path in &written {
        manifest.add_output(path)?;
    }
    manifest.write(&out.join(MANIFEST_FILE))?;
    Ok(Summary {
        output_dir: out.display().to_string(),
        model: loaded.description.clone(),
        adapter: manifest.adapter,
        tensors: weights.len(),
        parameters,
    })
}

const MANIFEST_FILE: &str = "manifest.json";

fn load_error(error: LoadError) -> StageError {
    if error.is_usage() {
        StageError::usage(error)
    } else {
        StageError::bad_data(error)
    }
}

fn lora_merge(
    adapter: &loader::Adapter,
    model: &mut smollm_model::Llama,
) -> Result<(), StageError> {
    // The low-rank branch goes before the weights take it in.
    loader::detach(model);
    adapter.merge_into(model).or_failed().map(drop)
}

/// Makes the folder; one that holds something is used only if an earlier export left it and may be
/// replaced, and never if it is the model that is being read.
fn make_room(out: &Path, overwrite: bool, base: &Path) -> Result<(), StageError> {
    stage::create_folder(out)?;
    let same = |a: &Path, b: &Path| matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b);
    if same(out, base)
        || base
            .parent()
            .is_some_and(|parent| base.is_file() && same(out, parent))
    {
        let text = format!(
            "{} holds the model that is read; choose another folder",
            out.display()
        );
        return Err(StageError::usage(text));
    }
    let mut entries = std::fs::read_dir(out).or_failed()?;
    if entries.next().is_none() {
        return Ok(());
    }
    let ours = Manifest::read(&out.join(MANIFEST_FILE)).is_ok_and(|found| found.stage == "export");
    let begun = out.join(weights::PART).exists() || !out.join("config.json").exists();
    if !overwrite || !(ours || begun) {
        return Err(StageError::usage(format!(
            "{} is not empty; choose another --output_dir{}",
            out.display(),
            if ours {
                ", or replace that export with --overwrite"
            } else {
                ""
            }
        )));
    }
    for name in ["config.json", MANIFEST_FILE] {
        match std::fs::remove_file(out.join(name)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                let text = format!("cannot delete {name} in {}: {e}", out.display());
                return Err(StageError::failed(text));
            }
            _ => {}
        }
    }
    Ok(())
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
