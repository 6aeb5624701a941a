//! Finding control strings in text, without encoding it.

use std::collections::BTreeMap;

use aho_corasick::{AhoCorasick, MatchKind};
use tokenizers::Tokenizer;

use crate::tokenizer::Piece;

/// Splits text where the tokenizer does: at the leftmost, then longest, added token.
#[derive(Debug, Clone)]
pub(crate) struct Splitter {
    strings: AhoCorasick,
    /// For each string, its id if it is a control token. Other added tokens are text, but what they
    /// cover cannot be part of a control string.
    ids: Vec<Option<u32>>,
}

impl Splitter {
    /// None if an added token matches by rules of its own: stripped of white space, as a whole word
    /// only, or after normalisation.
    pub(crate) fn new(tokenizer: &Tokenizer) -> Option<Self> {
        let added: BTreeMap<_, _> = tokenizer.get_added_tokens_decoder().into_iter().collect();
        let added = added.iter().filter(|(_, token)| !token.content.is_empty());
        let (mut patterns, mut ids) = (Vec::new(), Vec::new());
        for (&id, token) in added {
            if token.lstrip || token.rstrip || token.single_word || token.normalized {
                return None;
            }
            patterns.push(token.content.clone());
            ids.push(token.special.then_some(id));
        }
        let strings = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(&patterns)
            .ok()?;
        Some(Self { strings, ids })
    }

    pub(crate) fn split<'t>(&self, text: &'t str) -> Vec<Piece<'t>> {
        let mut pieces = Vec::new();
        let mut done = 0;
        for found in self.strings.find_iter(text) {
            if let Some(id) = self.ids[found.pattern()] {
                pieces.push(Piece::Text(&text[done..found.start()]));
                pieces.push(Piece::Control(id));
                done = found.end();
            }
        }
        pieces.push(Piece::Text(&text[done..]));
        pieces
    }
}
