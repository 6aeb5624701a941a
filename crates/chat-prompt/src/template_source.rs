//! Where a chat template stands: a file of its own, `tokenizer_config.json`, or a GGUF key.

use std::path::Path;

use gguf::GgufFile;
use serde_json::Value;

use crate::error::{PromptError, Result, read_text};
use crate::template::ChatTemplate;

const TOKEN_NAMES: [&str; 4] = ["bos_token", "eos_token", "unk_token", "pad_token"];
const GGUF_KEY: &str = "tokenizer.chat_template";

/// The template of a model folder. A file `chat_template.jinja` wins over the configuration's
/// entry, as in transformers.
pub(crate) fn from_dir(dir: &Path) -> Result<ChatTemplate> {
    let config_path = dir.join("tokenizer_config.json");
    let config = if config_path.exists() {
        read_json(&config_path)?
    } else {
        Value::Null
    };
    let special_tokens = special_tokens(&config);
    let file = dir.join("chat_template.jinja");
    if file.exists() {
        let source = read_text(&file)?;
        return ChatTemplate::new(source, &file.display().to_string(), special_tokens);
    }
    match config.get("chat_template") {
        None | Some(Value::Null) => Err(PromptError::MissingTemplate {
            origin: dir.display().to_string(),
            looked_for: "chat_template.jinja and chat_template in tokenizer_config.json",
        }),
        Some(entry) => {
            let source = default_of(entry).map_err(|e| PromptError::bad_file(&config_path, e))?;
            ChatTemplate::new(source, &config_path.display().to_string(), special_tokens)
        }
    }
}

/// The template in a GGUF file.
pub(crate) fn from_gguf(file: &GgufFile) -> Result<ChatTemplate> {
    let origin = file
        .path()
        .map_or_else(|| "GGUF".to_owned(), |p| p.display().to_string());
    let Some(source) = file.opt_str(GGUF_KEY)? else {
        return Err(PromptError::MissingTemplate {
            origin,
            looked_for: "key tokenizer.chat_template",
        });
    };
    let tokens = file.str_array("tokenizer.ggml.tokens")?;
    let mut special_tokens = Vec::new();
    let keys = [
        "bos_token_id",
        "eos_token_id",
        "unknown_token_id",
        "padding_token_id",
    ];
    for (name, key) in TOKEN_NAMES.iter().zip(keys) {
        let id = file.opt_u32(&format!("tokenizer.ggml.{key}"))?;
        if let Some(token) = id.and_then(|id| tokens.get(id as usize)) {
            special_tokens.push(((*name).to_owned(), token.clone()));
        }
    }
    ChatTemplate::new(source.to_owned(), &origin, special_tokens)
}

fn read_json(path: &Path) -> Result<Value> {
    serde_json::from_str(&read_text(path)?)
        .map_err(|e| PromptError::bad_file(path, format!("not valid JSON: {e}")))
}

/// A token is written as text or as an object with its text in `content`.
fn special_tokens(config: &Value) -> Vec<(String, String)> {
    let text = |name: &&str| {
        let entry = config.get(name)?;
        let text = entry.as_str().or_else(|| entry.get("content")?.as_str())?;
        Some(((*name).to_owned(), text.to_owned()))
    };
    TOKEN_NAMES.iter().filter_map(text).collect()
}

/// `chat_template` is a text, or a list of `{"name", "template"}` of which we take `default`.
fn default_of(entry: &Value) -> Result<String, String> {
    if let Some(text) = entry.as_str() {
        return Ok(text.to_owned());
    }
    let list = entry.as_array().map(Vec::as_slice).unwrap_or_default();
    let field = |item: &Value, name: &str| Some(item.get(name)?.as_str()?.to_owned());
    let named = list
        .iter()
        .filter_map(|i| Some((field(i, "name")?, field(i, "template")?)));
    let named: Vec<(String, String)> = named.collect();
    match named.iter().find(|(name, _)| name == "default") {
        Some((_, template)) => Ok(template.clone()),
        None if list.is_empty() => {
            Err("`chat_template` is neither a text nor a list of named templates".into())
        }
        None => {
            let names: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
            Err(format!(
                "`chat_template` has no template named `default`, only: {}",
                names.join(", ")
            ))
        }
    }
}
