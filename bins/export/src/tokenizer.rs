//! The tokenizer's files.

use std::path::Path;

use chat_prompt::Prompter;
use serde_json::json;
use smollm_model::ModelFiles;
use stage::{OrExit, StageError};

/// What belongs to a tokenizer or to generation in a Hugging Face folder.
pub(crate) const FILES: [&str; 8] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
];

/// A file's name and its bytes.
pub(crate) type Content = (&'static str, Vec<u8>);

/// The files of a folder's tokenizer, or of the one that a GGUF file holds.
pub(crate) fn read(files: &ModelFiles, prompter: &Prompter) -> Result<Vec<Content>, StageError> {
    match files {
        ModelFiles::Dir(dir) => {
            let there = FILES.iter().filter(|name| dir.join(name).is_file());
            there
                .map(|name| Ok((*name, bytes_of(&dir.join(name))?)))
                .collect()
        }
        ModelFiles::Gguf(path) => from_gguf(path, prompter),
    }
}

fn bytes_of(path: &Path) -> Result<Vec<u8>, StageError> {
    std::fs::read(path)
        .map_err(|e| StageError::bad_data(format!("cannot read {}: {e}", path.display())))
}

/// GGUF metadata in the form that transformers reads.
fn from_gguf(path: &Path, prompter: &Prompter) -> Result<Vec<Content>, StageError> {
    let tokenizer = prompter.tokenizer();
    let file = gguf::GgufFile::open(path).or_bad_data()?;
    let token = |key: &str| -> Result<Option<String>, StageError> {
        let id = file
            .opt_u32(&format!("tokenizer.ggml.{key}_token_id"))
            .or_bad_data()?;
        Ok(id.and_then(|id| tokenizer.token(id)))
    };
    let config = json!({
        "bos_token": token("bos")?,
        "eos_token": token("eos")?,
        "pad_token": token("padding")?,
        "unk_token": token("unknown")?,
        "chat_template": prompter.template_source(),
        "clean_up_tokenization_spaces": false,
        "tokenizer_class": "PreTrainedTokenizerFast",
    });
    let config = format!("{config:#}\n");
    Ok(vec![
        ("tokenizer.json", tokenizer.to_json().or_failed()?.into()),
        ("tokenizer_config.json", config.into()),
    ])
}
