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
mod license;
mod modelfile;
mod push;
mod range;
mod room;
mod scores;
mod to_adapter;
mod to_model;
mod tokenizer;
mod weights;

use std::path::{Path, PathBuf};

use loader::Opened;
use serde::Serialize;
use stage::{Manifest, StageError};

pub use args::{Args, Dialect, Format, OutType, Precision};
use card::Card;
use push::Push;
pub use push::PushArgs;
use scores::Scores;

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
    /// The address of the commit on the hub, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Files of earlier exports that this commit took away there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deleted: Vec<String>,
}

/// What a format's writer gives back: files in the order they were written, tensors, numbers.
struct Written {
    files: Vec<PathBuf>,
    tensors: usize,
    parameters: usize,
}

/// Work of which only the writing into a folder is left.
type Work = Box<dyn FnOnce(&Path) -> Result<Written, StageError>>;

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
    let commit = summary.commit.as_ref();
    let commit = commit.map_or_else(String::new, |url| format!("\non the hub: {url}"));
    let deleted = if summary.deleted.is_empty() {
        String::new()
    } else {
        format!("\ndeleted there: {}", summary.deleted.join(", "))
    };
    stage::emit(&format!(
        "{what}: {} tensors, {} parameters in {} ({}){commit}{deleted}",
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
/// cannot be read, or cannot be said in the format, 1 when writing or pushing fails.
pub fn export(args: &Args) -> Result<Summary, StageError> {
    args.check()?;
    let push = Push::wanted(&args.push)?;
    let mut summary = write(args)?;
    if let Some(push) = push {
        let out = args.output_dir();
        let pushed = push.files(&out, &summary.files);
        let pushed = pushed.map_err(|e| {
            e.context(format!(
                "{} is whole, but it is not on the hub",
                out.display()
            ))
        })?;
        summary.commit = Some(pushed.commit);
        summary.deleted = pushed.deleted;
    }
    Ok(summary)
}

/// Writes the folder.
fn write(args: &Args) -> Result<Summary, StageError> {
    let scores = args.report.as_deref().map(Scores::read).transpose()?;
    let opened = loader::open(&args.model.spec(args.adapter_dir.as_deref()))?;
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
    let mut sources = opened.weight_files()?;
    sources.push(opened.files().path().to_path_buf());
    sources.extend(dir.map(Path::to_path_buf));
    let room = room::check(&out, args.overwrite, &sources)?;

    let mut manifest = manifest(args, &opened, dir)?;
    let base = opened.base_name().to_owned();
    let license = args.license.clone();
    let license = license.or_else(|| license::stated(&opened, args.format.is_adapter()));
    let work = match &adapter {
        Some((dir, adapter)) if args.format.is_adapter() => {
            let opened = &opened;
            let source = to_adapter::Source {
                dir,
                adapter,
                opened,
            };
            to_adapter::prepare(args, &source)?
        }
        _ => to_model::prepare(args, opened, dir, license.as_deref())?,
    };
    // An earlier export goes when nothing but the disk can stop this one.
    room.clear()?;
    manifest.write(&out.join(MANIFEST_FILE))?;
    let written = work(&out)?;
    for path in &written.files {
        manifest.add_output(path)?;
    }
    let card = Card {
        args,
        base: &base,
        adapter: dir,
        license: license.as_deref(),
        scores: scores.as_ref(),
        manifest: &manifest,
    };
    let path = out.join(CARD_FILE);
    stage::write_text(&path, &card.text())?;
    manifest.add_output(&path)?;
    let manifest = manifest.fact("complete", true);
    manifest.write(&out.join(MANIFEST_FILE))?;
    Ok(Summary::new(args, &manifest, &written))
}

impl Summary {
    fn new(args: &Args, manifest: &Manifest, written: &Written) -> Self {
        let names = manifest.outputs.iter().map(|file| last_part(&file.path));
        Self {
            output_dir: args.output_dir().display().to_string(),
            format: args.format.name(),
            model: manifest.model.clone().unwrap_or_default(),
            adapter: manifest.adapter.clone(),
            tensors: written.tensors,
            parameters: written.parameters,
            files: names.collect(),
            commit: None,
            deleted: Vec::new(),
        }
    }
}

/// The record of the work, before any of it is done.
fn manifest(args: &Args, opened: &Opened, adapter: Option<&Path>) -> Result<Manifest, StageError> {
    let mut manifest = Manifest::new("export")
        .argument("format", args.format.name())
        .fact("complete", false);
    manifest = match args.format {
        Format::Safetensors => {
            let (_, name) = args.dtype.unwrap_or_default().stored();
            manifest
                .argument("dtype", name)
                .argument("max_shard_size", args.max_shard_size())
        }
        Format::Gguf | Format::GgufAdapter => manifest
            .argument("outtype", args.outtype().name())
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
    for path in opened.weight_files()? {
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

/// The last part of a path or hub id: a name without a place.
fn last_part(name: &str) -> String {
    let name = name.trim_end_matches('/');
    name.rsplit('/').next().unwrap_or(name).to_owned()
}
