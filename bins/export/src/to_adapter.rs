//! The formats that keep the adapter an adapter.

use std::path::Path;

use loader::{Adapter, Opened};
use stage::{OrExit, StageError};

use crate::args::{Args, Dialect, Format};
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
    if let Some(base) = &args.base_model {
        adapter.set_base_model(Some(base.clone()), args.revision.clone());
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
