//! The tokenizer's files.

use std::path::{Path, PathBuf};

use chat_prompt::Prompter;
use serde_json::json;
use smollm_model::ModelFiles;
use stage::{OrExit, StageError};

/// What belongs to a tokenizer or to generation in a Hugging Face folder.
const FILES: [&str; 8] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
];

/// Copies the tokenizer of a folder, or writes the one that a GGUF file holds.
pub(crate) fn write(
    files: &ModelFiles,
    prompter: &Prompter,
    out: &Path,
) -> Result<Vec<PathBuf>, StageError> {
    match files {
        ModelFiles::Dir(dir) => {
            let there = FILES.iter().filter(|name| dir.join(name).is_file());
            there
                .map(|name| copy(&dir.join(name), &out.join(name)))
                .collect()
        }
        ModelFiles::Gguf(path) => from_gguf(path, prompter, out),
    }
}

fn copy(from: &Path, to: &Path) -> Result<PathBuf, StageError> {
    let bytes = std::fs::read(from)
        .map_err(|e| StageError::bad_data(format!("cannot read {}: {e}", from.display())))?;
    stage::write_bytes(to, &bytes)?;
    Ok(to.to_path_buf())
}

/// GGUF metadata in the form that transformers reads.
fn from_gguf(path: &Path, prompter: &Prompter, out: &Path) -> Result<Vec<PathBuf>, StageError> {
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
    let written = ["tokenizer.json", "tokenizer_config.json"].map(|name| out.join(name));
    stage::write_text(&written[0], &tokenizer.to_json().or_failed()?)?;
    stage::write_json(&written[1], &config)?;
    Ok(written.into())
}
