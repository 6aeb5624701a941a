//! Checks on `tokenizer.json` that the `tokenizers` crate leaves out.

use std::collections::HashSet;

use serde::Deserialize;
use tokenizers::{ModelWrapper, Tokenizer};

#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow)]
    model: Option<Model<'a>>,
}

#[derive(Deserialize)]
struct Model<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    vocab: Option<serde_json::Value>,
    merges: Option<Vec<Merge>>,
    #[serde(skip)]
    _text: std::marker::PhantomData<&'a str>,
}

/// Old files write a merge as `"a b"`, new ones as `["a", "b"]`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    Text(String),
}

/// Refuses a file whose merges lead out of its vocabulary: `tokenizers` may panic on one.
pub(crate) fn check(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("the file is empty".into());
    }
    let file: File<'_> = serde_json::from_str(text).map_err(|e| format!("not valid JSON: {e}"))?;
    let model = file
        .model
        .ok_or("no `model` in it, expected a tokenizer.json")?;
    let (Some("BPE"), Some(vocab)) = (model.kind.as_deref(), &model.vocab) else {
        return Ok(());
    };
    let Some(vocab) = vocab.as_object() else {
        return Err("`model.vocab` is not an object of tokens and ids".into());
    };
    for (index, merge) in model.merges.iter().flatten().enumerate() {
        let (a, b) = match merge {
            Merge::Pair(a, b) => (a.as_str(), b.as_str()),
            Merge::Text(text) => text
                .split_once(' ')
                .ok_or_else(|| format!("merge {index} is `{text}`, expected two tokens"))?,
        };
        check_merge(index, a, b, |token| vocab.contains_key(token))?;
    }
    Ok(())
}

/// Both sides of a merge, and what it gives, must be tokens.
pub(crate) fn check_merge(
    index: usize,
    a: &str,
    b: &str,
    known: impl Fn(&str) -> bool,
) -> Result<(), String> {
    let joined = format!("{a}{b}");
    match [a, b, &joined].into_iter().find(|token| !known(token)) {
        None => Ok(()),
        Some(token) => Err(format!(
            "merge {index} (`{a}` `{b}`) needs token `{token}`, which is not in the vocabulary"
        )),
    }
}

/// The token that stands for unknown text, where the model has one.
pub(crate) fn unknown_token(tokenizer: &Tokenizer) -> Option<String> {
    match tokenizer.get_model() {
        ModelWrapper::BPE(model) => model.get_unk_token().clone(),
        ModelWrapper::WordPiece(model) => Some(model.unk_token.clone()),
        ModelWrapper::WordLevel(model) => Some(model.unk_token.clone()),
        ModelWrapper::Unigram(_) => None,
    }
}

/// A vocabulary without repetitions, for rebuilding from a list.
pub(crate) fn first_repeated(tokens: &[String]) -> Option<&String> {
    let mut seen = HashSet::with_capacity(tokens.len());
    tokens.iter().find(|token| !seen.insert(token.as_str()))
}
