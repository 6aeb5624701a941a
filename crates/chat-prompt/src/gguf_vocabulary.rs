//! A tokenizer rebuilt from GGUF metadata.
//!
//! The file has the vocabulary and the merges, but of the pre-tokenizer only a name. That name
//! decides how text is split before merging, so a name we do not know is refused.

use gguf::GgufFile;
use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{AddedToken, Tokenizer};

use crate::error::{PromptError, Result};
use crate::tokenizer_json::{check_merge, first_repeated};

/// llama.cpp's token types that matter here.
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

/// An error about this file's vocabulary.
pub(crate) fn error(file: &GgufFile, problem: impl Into<String>) -> PromptError {
    let origin = file
        .path()
        .map_or_else(|| "GGUF".into(), |p| p.display().to_string());
    PromptError::GgufVocabulary {
        origin,
        problem: problem.into(),
    }
}

pub(crate) fn rebuild(file: &GgufFile) -> Result<Tokenizer> {
    expect_value(file, "tokenizer.ggml.model", "gpt2", "byte-level BPE")?;
    expect_value(
        file,
        "tokenizer.ggml.pre",
        "smollm",
        "how text is split before merging",
    )?;
    let tokens = file.str_array("tokenizer.ggml.tokens")?;
    let types = file.i32_array("tokenizer.ggml.token_type")?;
    let merges = file.str_array("tokenizer.ggml.merges")?;
    if types.len() != tokens.len() {
        let (types, tokens) = (types.len(), tokens.len());
        let text = format!("tokenizer.ggml.token_type has {types} entries, tokens has {tokens}");
        return Err(error(file, text));
    }
    let model = bpe(tokens, merges).map_err(|problem| error(file, problem))?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(PreTokenizerWrapper::Sequence(Sequence::new(vec![
        PreTokenizerWrapper::Digits(Digits::new(true)),
        PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, true)),
    ]))));
    tokenizer.with_decoder(Some(ByteLevelDecoder::new(false, true, true)));
    tokenizer
        .with_normalizer(None::<NormalizerWrapper>)
        .and_then(|t| t.add_tokens(added_tokens(tokens, types)))
        .map_err(|e| error(file, e.to_string()))?;
    Ok(tokenizer)
}

fn expect_value(file: &GgufFile, key: &str, wanted: &str, meaning: &str) -> Result<()> {
    let found = file.str(key)?;
    if found == wanted {
        return Ok(());
    }
    let text = format!(
        "{key} ({meaning}) is `{found}`, only `{wanted}` is supported; use the model's folder with \
         tokenizer.json instead"
    );
    Err(error(file, text))
}

fn bpe(tokens: &[String], merges: &[String]) -> Result<BPE, String> {
    if let Some(token) = first_repeated(tokens) {
        return Err(format!("tokenizer.ggml.tokens has `{token}` twice"));
    }
    let vocabulary: std::collections::HashMap<String, u32> = tokens
        .iter()
        .zip(0..)
        .map(|(token, id)| (token.clone(), id))
        .collect();
    let mut pairs = Vec::with_capacity(merges.len());
    for (index, merge) in merges.iter().enumerate() {
        let (a, b) = merge.split_once(' ').ok_or_else(|| {
            format!("tokenizer.ggml.merges: entry {index} is `{merge}`, expected two tokens")
        })?;
        check_merge(index, a, b, |token| vocabulary.contains_key(token))
            .map_err(|e| format!("tokenizer.ggml.merges: {e}"))?;
        pairs.push((a.to_owned(), b.to_owned()));
    }
    let vocabulary = vocabulary
        .into_iter()
        .collect::<tokenizers::models::bpe::Vocab>();
    BPE::builder()
        .vocab_and_merges(vocabulary, pairs)
        .build()
        .map_err(|e| e.to_string())
}

fn added_tokens(tokens: &[String], types: &[i32]) -> Vec<AddedToken> {
    let added = tokens.iter().zip(types);
    let added = added.filter(|(_, kind)| [CONTROL, USER_DEFINED].contains(kind));
    added
        .map(|(token, &kind)| AddedToken::from(token.as_str(), kind == CONTROL).normalized(false))
        .collect()
}
