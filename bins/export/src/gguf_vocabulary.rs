//! The tokenizer as GGUF metadata.
//!
//! Source: `get_vocab_base` and `_set_vocab_gpt2` of llama.cpp's `convert_hf_to_gguf.py`, and
//! `SpecialVocab` of its `gguf-py`. Of the pre-tokenizer a GGUF file has only a name, so a model
//! whose text is split in a way that has another name than `smollm` is refused.

use std::path::Path;

use chat_prompt::Prompter;
use gguf::{GgufFile, GgufWriter};
use serde_json::Value;
use smollm_model::{ModelConfig, ModelFiles};
use stage::{OrExit, StageError};

/// llama.cpp's token types.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

/// Adds the `tokenizer.*` keys: those of the base where it is a GGUF file, else those that its
/// `tokenizer.json` and `tokenizer_config.json` say.
pub(crate) fn write(
    writer: &mut GgufWriter,
    files: &ModelFiles,
    prompter: &Prompter,
    config: &ModelConfig,
) -> Result<(), StageError> {
    match files {
        ModelFiles::Gguf(path) => carry_over(writer, path),
        ModelFiles::Dir(dir) => from_folder(writer, dir, prompter, config),
    }
}

fn carry_over(writer: &mut GgufWriter, path: &Path) -> Result<(), StageError> {
    let file = GgufFile::open(path).or_bad_data()?;
    for (key, value) in file.metadata() {
        if key.starts_with("tokenizer.") {
            writer.set(key, value.clone()).or_failed()?;
        }
    }
    Ok(())
}

fn from_folder(
    writer: &mut GgufWriter,
    dir: &Path,
    prompter: &Prompter,
    config: &ModelConfig,
) -> Result<(), StageError> {
    let text = prompter.tokenizer().to_json().or_failed()?;
    let tokenizer: Value = serde_json::from_str(&text).or_failed()?;
    let in_folder = |problem: String| {
        let path = dir.join("tokenizer.json");
        StageError::bad_data(format!("{}: {problem}", path.display()))
    };
    check_splitting(&tokenizer).map_err(in_folder)?;
    let vocabulary = vocabulary(&tokenizer, config.vocab_size).map_err(in_folder)?;
    let settings = read_json(&dir.join("tokenizer_config.json"))?;
    let special = special_ids(dir, &settings, prompter, config)?;
    let template = prompter.template_source().to_owned();

    let mut set = |key: &str, value: gguf::Value| {
        let key = format!("tokenizer.{key}");
        writer.set(&key, value).or_failed()
    };
    set("ggml.model", "gpt2".into())?;
    set("ggml.pre", "smollm".into())?;
    set("ggml.tokens", vocabulary.tokens.into())?;
    set("ggml.token_type", vocabulary.types.into())?;
    set("ggml.merges", vocabulary.merges.into())?;
    for (key, id) in special {
        set(&format!("ggml.{key}_token_id"), id.into())?;
    }
    // Prompts are whole as the template makes them: nothing is put in front of them.
    set("ggml.add_bos_token", false.into())?;
    set("ggml.add_space_prefix", false.into())?;
    set("chat_template", template.into())
}

/// Refuses a tokenizer that is not byte-level BPE with SmolLM's way of splitting text.
fn check_splitting(tokenizer: &Value) -> Result<(), String> {
    let splitters = tokenizer["pre_tokenizer"]["pretokenizers"].as_array();
    let splitters = splitters.map(Vec::as_slice).unwrap_or_default();
    let digits = |s: &Value| s["type"] == "Digits" && s["individual_digits"] == true;
    let bytes = |s: &Value| {
        s["type"] == "ByteLevel" && s["add_prefix_space"] == false && s["use_regex"] != false
    };
    let smollm = matches!(splitters, [first, second] if digits(first) && bytes(second));
    let plain = tokenizer["normalizer"].is_null() && tokenizer["model"]["type"] == "BPE";
    if smollm && plain && tokenizer["model"]["ignore_merges"] != true {
        return Ok(());
    }
    Err(
        "the tokenizer is not byte-level BPE that takes digits one by one (llama.cpp's `smollm`), \
         the only one that is written as GGUF; convert the safetensors export with llama.cpp"
            .to_owned(),
    )
}

struct Vocabulary {
    tokens: Vec<String>,
    types: Vec<i32>,
    merges: Vec<String>,
}

/// Tokens by id, with their types; ids that no token has are named `[PAD…]`.
fn vocabulary(tokenizer: &Value, size: usize) -> Result<Vocabulary, String> {
    let mut tokens: Vec<Option<(String, i32)>> = vec![None; size];
    let mut put = |token: &str, id: &Value, kind: i32| {
        let place = id.as_u64().and_then(|id| tokens.get_mut(id as usize));
        let place =
            place.ok_or_else(|| format!("token `{token}` has id {id}, not below {size}"))?;
        *place = Some((token.to_owned(), kind));
        Ok::<_, String>(())
    };
    for (token, id) in tokenizer["model"]["vocab"]
        .as_object()
        .into_iter()
        .flatten()
    {
        put(token, id, NORMAL)?;
    }
    for added in tokenizer["added_tokens"].as_array().into_iter().flatten() {
        let token = added["content"].as_str().unwrap_or_default();
        let is_special = added["special"] == true;
        let kind = if is_special { CONTROL } else { USER_DEFINED };
        put(token, &added["id"], kind)?;
    }
    let merge = |merge: &Value| match merge {
        Value::Array(pair) => match pair.as_slice() {
            [Value::String(a), Value::String(b)] => Some(format!("{a} {b}")),
            _ => None,
        },
        other => other.as_str().map(str::to_owned),
    };
    let merges = tokenizer["model"]["merges"]
        .as_array()
        .into_iter()
        .flatten();
    let merges: Option<Vec<_>> = merges.map(merge).collect();
    let all = tokens.into_iter().enumerate();
    let all = all.map(|(id, token)| token.unwrap_or_else(|| (format!("[PAD{id}]"), UNUSED)));
    let (tokens, types) = all.unzip();
    Ok(Vocabulary {
        tokens,
        types,
        merges: merges.ok_or("`model.merges` has an entry that is not two tokens")?,
    })
}

/// The ids of tokens with a role: as `tokenizer_config.json` names them, else as `config.json` numbers
/// them.
fn special_ids(
    dir: &Path,
    settings: &Value,
    prompter: &Prompter,
    config: &ModelConfig,
) -> Result<Vec<(&'static str, u32)>, StageError> {
    const ROLES: [(&str, &str, &str); 4] = [
        ("bos", "bos_token", "bos_token_id"),
        ("eos", "eos_token", "eos_token_id"),
        ("unknown", "unk_token", "unk_token_id"),
        ("padding", "pad_token", "pad_token_id"),
    ];
    let numbers = read_json(&dir.join("config.json"))?;
    let mut found = Vec::new();
    for (key, name, number) in ROLES {
        let token = &settings[name];
        let token = token.as_str().or_else(|| token["content"].as_str());
        let named = token.and_then(|token| prompter.token_id(token));
        let number = &numbers[number];
        let number = number.as_u64().or_else(|| number[0].as_u64());
        let numbered = number.and_then(|id| u32::try_from(id).ok());
        let id = named.or(numbered);
        found.extend(
            id.filter(|id| (*id as usize) < config.vocab_size)
                .map(|id| (key, id)),
        );
    }
    Ok(found)
}

/// The JSON in a file; `null` where there is no file.
fn read_json(path: &Path) -> Result<Value, StageError> {
    let text = match std::fs::read_to_string(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Value::Null),
        other => other.map_err(|e| StageError::bad_data(format!("{}: {e}", path.display())))?,
    };
    serde_json::from_str(&text)
        .map_err(|e| StageError::bad_data(format!("{}: not valid JSON: {e}", path.display())))
}
