//! The formats that keep the adapter an adapter.

use std::path::{Path, PathBuf};

use loader::{Adapter, Opened};
use stage::{OrExit, StageError};

use crate::args::{Args, Dialect, Format};
use crate::{Written, gguf_adapter, modelfile};

/// An adapter and the base that it belongs to.
pub(crate) struct Source<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) adapter: &'a Adapter,
    pub(crate) opened: &'a Opened,
}

/// Writes the adapter into `out`.
pub(crate) fn write(args: &Args, source: &Source, out: &Path) -> Result<Written, StageError> {
    let (model, base) = (source.opened.config(), source.opened.base_name());
    let layers = model.num_hidden_layers;
    let portable = args.dialect == Some(Dialect::Portable) || args.format == Format::Mlx;
    let adapter = if portable {
        source.adapter.portable(layers).or_failed()?
    } else {
        source.adapter.clone()
    };
    let in_out = |names: [&str; 2]| names.map(|name| out.join(name)).into();
    let files: Vec<PathBuf> = match args.format {
        Format::Peft => {
            adapter.save(out).or_failed()?;
            in_out([lora::WEIGHTS_FILE, lora::CONFIG_FILE])
        }
        Format::Mlx => {
            adapter.save_mlx(out, layers).or_failed()?;
            in_out([lora::MLX_WEIGHTS_FILE, lora::CONFIG_FILE])
        }
        _ => {
            let outtype = args.outtype();
            let modelfile = args.modelfile.then(|| modelfile_of(args, source));
            let modelfile = modelfile.transpose()?;
            let mut files = vec![gguf_adapter::write(out, &adapter, model, base, outtype)?];
            if let Some(text) = modelfile {
                files.push(modelfile::write(out, &text)?);
            }
            files
        }
    };
    Ok(Written {
        files,
        tensors: adapter.tensors().len(),
        parameters: adapter.parameters(),
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
