//! The tokenizer in two readings: one that sees control strings, one that cannot.

use std::collections::BTreeMap;
use std::path::Path;

use gguf::GgufFile;
use tokenizers::Tokenizer;

use crate::error::{PromptError, Result, read_text, start_of};
use crate::missing_bytes::{self, MissingBytes};
use crate::splitter::Splitter;
use crate::words::Words;
use crate::{gguf_vocabulary, tokenizer_json};

/// A byte-level tokenizer, read from `tokenizer.json` or rebuilt from GGUF metadata.
///
/// A vocabulary need not have a token for every byte, and SmolLM2's does not: characters that need
/// one of a few rare bytes are **dropped** in encoding, in silence, here as in every other
/// implementation. [`ChatTokenizer::encode_plain`] and its siblings follow the model in that;
/// [`ChatTokenizer::count_unencodable`] tells.
#[derive(Debug, Clone)]
pub struct ChatTokenizer {
    /// Reads control strings as control ids.
    parsing: Tokenizer,
    /// Reads control strings as the characters they are made of.
    plain: Tokenizer,
    /// Control tokens (added tokens marked special), by id.
    controls: BTreeMap<u32, String>,
    /// The id that stands for unknown text, if the model has one; it may be a control token's.
    unknown: Option<u32>,
    /// One more than the largest id.
    vocab_size: usize,
    /// Finds control strings as `parsing` does, where no added token has special rules of matching.
    splitter: Option<Splitter>,
    /// Which bytes have no token.
    missing: MissingBytes,
    /// Encodes as `plain` does, where it can.
    words: Option<Words>,
}

/// A piece of text between or at control tokens; see [`ChatTokenizer::split_at_controls`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'t> {
    Text(&'t str),
    Control(u32),
}

impl ChatTokenizer {
    /// Reads `tokenizer.json` in a model folder.
    ///
    /// # Errors
    /// If the file is missing or is no tokenizer.
    pub fn from_dir(dir: &Path) -> Result<Self> {
        Self::from_file(&dir.join("tokenizer.json"))
    }

    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// If the file is missing or is no tokenizer.
    pub fn from_file(path: &Path) -> Result<Self> {
        Self::from_json(&read_text(path)?).map_err(|problem| PromptError::bad_file(path, problem))
    }

    /// Reads the text of a `tokenizer.json`; the error says what is wrong with it.
    ///
    /// # Errors
    /// If it is no tokenizer.
    pub fn from_json(json: &str) -> Result<Self, String> {
        tokenizer_json::check(json)?;
        let tokenizer = Tokenizer::from_bytes(json.as_bytes());
        Self::new(tokenizer.map_err(|e| format!("not a usable tokenizer: {e}"))?)
    }

    /// Rebuilds the tokenizer from the vocabulary in a GGUF file.
    ///
    /// # Errors
    /// If keys are missing or disagree, or if the file names a pre-tokenizer other than `smollm`:
    /// splitting text another way would give other ids for nearly every row, so it is refused
    /// rather than guessed.
    pub fn from_gguf(file: &GgufFile) -> Result<Self> {
        let tokenizer = gguf_vocabulary::rebuild(file)?;
        Self::new(tokenizer).map_err(|problem| gguf_vocabulary::error(file, problem))
    }

    fn new(mut parsing: Tokenizer) -> Result<Self, String> {
        // Saved by a trainer, these would cut or pad every text in silence.
        parsing.with_truncation(None).map_err(|e| e.to_string())?;
        parsing.with_padding(None);
        parsing.set_encode_special_tokens(false);
        let mut plain = parsing.clone();
        plain.set_encode_special_tokens(true);
        let added = parsing.get_added_tokens_decoder();
        let special = added
            .iter()
            .filter(|(_, token)| token.special && !token.content.is_empty());
        let controls = special
            .map(|(&id, token)| (id, token.content.clone()))
            .collect();
        let vocabulary = parsing.get_vocab(true);
        let vocab_size = vocabulary.values().max().map_or(0, |&id| id as usize + 1);
        let unknown = tokenizer_json::unknown_token(&parsing).and_then(|t| parsing.token_to_id(&t));
        let splitter = Splitter::new(&parsing);
        let missing = MissingBytes::new(&parsing);
        let words = Words::new(&plain);
        Ok(Self {
            parsing,
            plain,
            controls,
            unknown,
            vocab_size,
            splitter,
            missing,
            words,
        })
    }

    /// Encodes text in which control strings mean control tokens.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn encode_parsing(&self, text: &str) -> Result<Vec<u32>> {
        Ok(encode(self.parsing.encode_fast(text, false), text)?
            .get_ids()
            .to_vec())
    }

    /// Encodes ordinary text: a control string in it is encoded as its characters.
    ///
    /// # Errors
    /// If the tokenizer fails, or if its vocabulary is such that ordinary text gives a control id.
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>> {
        let ids = match &self.words {
            Some(words) => encode(words.encode(&self.plain, text), text)?,
            None => encode(self.plain.encode_fast(text, false), text)?
                .get_ids()
                .to_vec(),
        };
        let smuggled = ids
            .iter()
            .find(|id| Some(**id) != self.unknown && self.is_control(**id));
        if let Some(&id) = smuggled {
            let token = self.controls.get(&id).cloned().unwrap_or_default();
            return Err(PromptError::ControlFromText {
                start: start_of(text),
                token,
                id,
            });
        }
        Ok(ids)
    }

    /// Characters that encoding drops or replaces, since they need a byte that has no token. (Of
    /// tokenizers that do not work on bytes nothing is known: 0.)
    pub fn count_unencodable(&self, text: &str) -> usize {
        self.missing.count(text)
    }

    /// Where the tokens of ordinary text end: ascending byte offsets, each between two characters.
    pub(crate) fn token_ends(&self, text: &str) -> Result<Vec<usize>> {
        let encoding = encode(self.plain.encode(text, false), text)?;
        let mut ends: Vec<usize> = encoding.get_offsets().iter().map(|&(_, end)| end).collect();
        ends.retain(|&end| text.is_char_boundary(end));
        ends.dedup();
        Ok(ends)
    }

    /// Splits text at the control strings in it, as encoding does: text and control tokens take
    /// turns, text (perhaps empty) first and last.
    pub(crate) fn split_at_controls<'t>(&self, text: &'t str) -> Result<Vec<Piece<'t>>> {
        if let Some(splitter) = &self.splitter {
            return Ok(splitter.split(text));
        }
        let encoding = encode(self.parsing.encode(text, false), text)?;
        let mut pieces = Vec::new();
        let mut done = 0;
        for (&id, &(start, end)) in encoding.get_ids().iter().zip(encoding.get_offsets()) {
            let Some(control) = self.controls.get(&id) else {
                continue;
            };
            // An unknown character may have a control token's id; only the string itself counts.
            // (It may stand in white space that the token swallows.)
            if text
                .get(start..end)
                .is_none_or(|found| found.trim() != control.trim())
            {
                continue;
            }
            pieces.push(Piece::Text(text.get(done..start).unwrap_or_default()));
            pieces.push(Piece::Control(id));
            done = end;
        }
        pieces.push(Piece::Text(text.get(done..).unwrap_or_default()));
        Ok(pieces)
    }

    /// The tokenizer as the text of a `tokenizer.json`, which transformers reads.
    ///
    /// # Errors
    /// If it cannot be serialised.
    pub fn to_json(&self) -> Result<String> {
        self.parsing
            .to_string(false)
            .map_err(|e| PromptError::Serialize {
                problem: e.to_string(),
            })
    }

    /// Text of ids. An id outside the vocabulary gives nothing, and so do control tokens if
    /// `skip_special`.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        self.parsing
            .decode(ids, skip_special)
            .map_err(|e| PromptError::Decode {
                count: ids.len(),
                problem: e.to_string(),
            })
    }

    /// The id of a token given as it stands in the vocabulary.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.parsing.token_to_id(token)
    }

    /// The token of an id, as it stands in the vocabulary.
    pub fn token(&self, id: u32) -> Option<String> {
        self.parsing.id_to_token(id)
    }

    /// The bytes that a token stands for, which need not be whole characters. Added tokens, control tokens among them,
    /// are the text they are written as.
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        let token = self.token(id)?;
        let added = self.parsing.get_added_vocabulary();
        if added.get_added_tokens_decoder().contains_key(&id) {
            return Some(token.into_bytes());
        }
        Some(missing_bytes::bytes_of(&self.parsing, &token).unwrap_or_else(|| token.into_bytes()))
    }

    /// One more than the largest id.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The control tokens, by id.
    pub fn controls(&self) -> &BTreeMap<u32, String> {
        &self.controls
    }

    /// True for the id of a control token.
    pub fn is_control(&self, id: u32) -> bool {
        self.controls.contains_key(&id)
    }
}

fn encode<T>(result: tokenizers::Result<T>, text: &str) -> Result<T> {
    result.map_err(|e| PromptError::Encode {
        start: start_of(text),
        problem: e.to_string(),
    })
}
