//! Whether an output file belongs to the work that is asked for.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use loader::Opened;
use stage::{FileRecord, Manifest, OrExit, SYSTEM_ARGUMENT, StageError};

use crate::args::Args;
use crate::variants::Variant;

/// Where the manifest of an output file lies: `<out>.manifest.json`.
pub(crate) fn manifest_path(out: &Path) -> PathBuf {
    let mut name = OsString::from(out.as_os_str());
    name.push(".manifest.json");
    PathBuf::from(name)
}

/// What a variant's answers to rows depend on. How many rows are answered, and how many together, is not part of it:
/// neither changes an answer.
pub(crate) fn of_rows(args: &Args, variant: &Variant) -> Result<Manifest, StageError> {
    let opened = &variant.opened;
    let mut manifest = settings(args, opened)?;
    if let Some(shard) = args.shard {
        manifest = manifest.argument("shard", shard.to_string());
    }
    if args.best_of > 1 {
        manifest = manifest.argument("best_of", args.best_of);
    }
    if args.logprobs {
        manifest = manifest.argument("logprobs", true);
    }
    manifest.adapter = variant.adapter_dir();
    manifest.inputs.insert(0, FileRecord::of(&args.test_csv)?);
    add_weights(&mut manifest, opened)?;
    Ok(manifest)
}

/// What the answers to requests depend on, requests aside: each is told from others by its own content.
pub(crate) fn of_requests(args: &Args, variants: &[Variant]) -> Result<Manifest, StageError> {
    let Some(first) = variants.first() else {
        return Err(StageError::failed("no model is named"));
    };
    let mut manifest = settings(args, &first.opened)?.argument("format", "openai");
    if let Some(name) = &args.served_model_name {
        manifest = manifest.argument("served_model_name", name.as_str());
    }
    let adapters: Vec<String> = variants.iter().filter_map(Variant::adapter_dir).collect();
    manifest.adapter = (!adapters.is_empty()).then(|| adapters.join(", "));
    for variant in variants {
        add_weights(&mut manifest, &variant.opened)?;
    }
    Ok(manifest)
}

fn add_weights(manifest: &mut Manifest, opened: &Opened) -> Result<(), StageError> {
    for path in opened.weight_files().or_bad_data()? {
        let known = path.display().to_string();
        if manifest.inputs.iter().all(|file| file.path != known) {
            manifest.add_input(&path)?;
        }
    }
    Ok(())
}

/// What every answer depends on.
fn settings(args: &Args, opened: &Opened) -> Result<Manifest, StageError> {
    let compat = if args.as_original() {
        "original"
    } else {
        "none"
    };
    let kept = args.inference.describe(opened.config())?;
    let mut manifest = Manifest::new("generate")
        .argument("max_prompt_len", args.max_prompt_len)
        .argument("max_new_tokens", args.max_new_tokens)
        .argument("temperature", args.temperature)
        .argument("dtype", kept)
        .argument("compat", compat);
    if let Some(system) = opened.prompter().system() {
        manifest = manifest.argument(SYSTEM_ARGUMENT, system);
    }
    if let Some(date) = args.date {
        manifest = manifest.argument("date", date.to_string());
    }
    if !args.stop.is_empty() {
        manifest = manifest.argument("stop", args.stop.clone());
    }
    if args.repetition_penalty != 1.0 {
        manifest = manifest.argument("repetition_penalty", args.repetition_penalty);
    }
    if args.temperature > 0.0 {
        manifest = manifest
            .argument("top_k", args.top_k)
            .argument("top_p", args.top_p)
            .argument("min_p", args.min_p)
            .seed("sampling", args.seed);
    }
    manifest.model = Some(opened.description().to_owned());
    manifest.template = Some(opened.prompter().template_hash());
    Ok(manifest)
}

/// Makes the output file ready: kept if it is the same work, started again if it is gone.
///
/// # Errors
/// Exit code 2 if there is a file that is not known to belong to this work.
pub(crate) fn begin(out: &Path, overwrite: bool, wanted: &Manifest) -> Result<(), StageError> {
    let path = manifest_path(out);
    if std::fs::metadata(out).is_ok_and(|meta| !meta.is_file()) {
        let text = format!(
            "{} is no regular file; choose another --out_file",
            out.display()
        );
        return Err(StageError::usage(text));
    }
    if overwrite {
        remove(out)?;
    }
    let begun = std::fs::metadata(out).is_ok_and(|meta| meta.len() > 0);
    if begun {
        let refuse = |why: String| {
            Err(StageError::usage(format!(
                "{} is there already, {why}; delete it or use --overwrite to start again, or \
                 choose another --out_file",
                out.display()
            )))
        };
        if !path.exists() {
            return refuse("but nothing says what it was made from".to_owned());
        }
        let found = Manifest::read(&path)?;
        if !found.same_work(wanted) {
            return refuse(format!("made with {}", difference(&found, wanted)));
        }
        return Ok(());
    }
    if let Some(folder) = out.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        stage::create_folder(folder)?;
    }
    wanted.clone().fact("complete", false).write(&path)
}

fn remove(path: &Path) -> Result<(), StageError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(StageError::failed(format!(
            "cannot delete {}: {e}",
            path.display()
        ))),
        _ => Ok(()),
    }
}

/// The first thing in which two manifests differ, in words.
fn difference(found: &Manifest, wanted: &Manifest) -> String {
    let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
    if found.smoltune != wanted.smoltune {
        return format!(
            "version {} of smoltune (this is {})",
            found.smoltune, wanted.smoltune
        );
    }
    for (what, found, wanted) in [
        ("model", &found.model, &wanted.model),
        ("adapter", &found.adapter, &wanted.adapter),
        ("chat template", &found.template, &wanted.template),
    ] {
        if found != wanted {
            return format!("{what} {} (now {})", or_none(found), or_none(wanted));
        }
    }
    for (key, wanted) in &wanted.arguments {
        if found.arguments.get(key) != Some(wanted) {
            let found = found
                .arguments
                .get(key)
                .map_or("none".to_owned(), ToString::to_string);
            return format!("{key} {found} (now {wanted})");
        }
    }
    if found.seeds != wanted.seeds {
        return "another seed".to_owned();
    }
    let shas = |manifest: &Manifest| -> Vec<String> {
        manifest
            .inputs
            .iter()
            .map(|file| file.sha256.clone())
            .collect()
    };
    let before = shas(found);
    let changed = wanted
        .inputs
        .iter()
        .find(|file| !before.contains(&file.sha256));
    changed.map_or("other inputs".to_owned(), |file| {
        format!("another content of {}", file.path)
    })
}
