//! The formats that keep the adapter an adapter.

use std::path::Path;

use loader::{Adapter, Opened};
use smollm_model::ModelSource;
use stage::{OrExit, StageError};

use crate::args::{Args, Dialect, Format};
use crate::range::check_finite;
use crate::{Work, Written, gguf_adapter, modelfile};

/// An adapter and the base that it belongs to.
pub(crate) struct Source<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) adapter: &'a Adapter,
    pub(crate) opened: &'a Opened,
}

/// Everything but the writing.
pub(crate) fn prepare(args: &Args, source: &Source) -> Result<Work, StageError> {
    let (model, base) = (source.opened.config(), source.opened.base_name());
    let layers = model.num_hidden_layers;
    let portable = args.dialect == Some(Dialect::Portable) || args.format == Format::Mlx;
    let mut adapter = if portable {
        source.adapter.portable(layers).or_bad_data()?
    } else {
        source.adapter.clone()
    };
    if args.format == Format::Mlx {
        adapter.check_mlx().or_bad_data()?;
    }
    // The others look as they convert; what is copied would go out as it is.
    if args.format == Format::Peft {
        for (name, tensor) in adapter.tensors() {
            check_finite(&name, tensor)?;
        }
    }
    if let Some(base) = &args.model.base_model {
        adapter.set_base_model(Some(base.clone()), args.model.revision.clone());
    }
    let names_base = args.format != Format::GgufAdapter;
    if names_base && args.push.push_to_hub.is_some() {
        check_base(&adapter)?;
    }
    let (tensors, parameters) = (adapter.tensors().len(), adapter.parameters());
    let written = move |files| Written {
        files,
        tensors,
        parameters,
    };
    Ok(match args.format {
        Format::Peft => Box::new(move |out: &Path| {
            adapter.save(out).or_failed()?;
            let names = [lora::WEIGHTS_FILE, lora::CONFIG_FILE];
            Ok(written(names.map(|name| out.join(name)).into()))
        }),
        Format::Mlx => Box::new(move |out: &Path| {
            adapter.save_mlx(out, layers).or_failed()?;
            let names = [lora::MLX_WEIGHTS_FILE, lora::CONFIG_FILE];
            Ok(written(names.map(|name| out.join(name)).into()))
        }),
        _ => {
            let modelfile = args.modelfile.then(|| modelfile_of(args, source));
            let modelfile = modelfile.transpose()?;
            let file = gguf_adapter::prepare(&adapter, model, base, args.outtype())?;
            Box::new(move |out: &Path| {
                let mut files = vec![file.write(out)?];
                if let Some(text) = modelfile {
                    files.push(modelfile::write(out, &text)?);
                }
                Ok(written(files))
            })
        }
    })
}

/// Refuses a base that is a place on this machine: `adapter_config.json` says it, and it means nothing elsewhere.
///
/// # Errors
/// Exit code 2 with what to do.
fn check_base(adapter: &Adapter) -> Result<(), StageError> {
    let base = adapter.config().base_model_name_or_path.as_deref();
    match base.map(|base| (base, ModelSource::parse(base))) {
        None | Some((_, Ok(ModelSource::Hub { .. }))) => Ok(()),
        Some((base, _)) => Err(StageError::usage(format!(
            "the adapter names {base} as its base, which is no model of the hub, and --push-to-hub does not publish \
             paths; name the base as others find it, with --base-model OWNER/NAME"
        ))),
    }
}

fn modelfile_of(args: &Args, source: &Source) -> Result<String, StageError> {
    // Ollama wants to know where the base is; the base itself is not written.
    let base = source.opened.files().path().canonicalize().or_failed()?;
    modelfile::text(&modelfile::Source {
        from: base.display().to_string(),
        adapter: Some(format!("./{}", gguf_adapter::file_name(args.outtype()))),
        prompter: source.opened.prompter(),
        config: source.opened.config(),
        system: stage::system_prompt(None, Some(source.dir), false)?.as_deref(),
    })
}
