//! Splitting ASCII text into words by hand, as the tokenizer's pre-tokenizer does by a regular
//! expression.
//!
//! Encoding is nearly all of what a row costs, and nearly all of that is the pre-tokenizer: a
//! backtracking expression, and offsets that nobody asked for. `SmolLM2`'s pre-tokenizer takes digits
//! apart and then follows GPT-2's expression,
//! `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`, which in ASCII is a few
//! lines. Words go to the tokenizer's own model. Text beyond ASCII goes through the tokenizer whole,
//! from the last to the next place where a word surely ends, so Unicode's classes are the tokenizer's.

use serde_json::{Value, json};
use tokenizers::{Model, Tokenizer};

use crate::missing_bytes::alphabet;

/// Encodes text like one tokenizer, faster.
#[derive(Debug, Clone)]
pub(crate) struct Words {
    /// How the vocabulary writes each byte.
    written: Vec<char>,
}

impl Words {
    /// None unless the tokenizer splits as described above, and has no added tokens that ordinary
    /// text may hold.
    pub(crate) fn new(tokenizer: &Tokenizer) -> Option<Self> {
        let splits = serde_json::to_value(tokenizer.get_pre_tokenizer()?).ok()?;
        let is = |part: &Value, expected: Value| {
            let expected = expected.as_object().cloned().unwrap_or_default();
            expected
                .iter()
                .all(|(key, value)| part.get(key) == Some(value))
        };
        let [digits, bytes] = splits.get("pretokenizers")?.as_array()?.as_slice() else {
            return None;
        };
        let as_expected = is(&splits, json!({"type": "Sequence"}))
            && is(digits, json!({"type": "Digits", "individual_digits": true}))
            && is(
                bytes,
                json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}),
            )
            && tokenizer.get_normalizer().is_none()
            && tokenizer
                .get_added_tokens_decoder()
                .values()
                .all(|token| token.special);
        as_expected.then(|| Self {
            written: alphabet().collect(),
        })
    }

    /// The ids of text in which control strings mean nothing; `plain` is the tokenizer that was
    /// given to [`Words::new`], in that reading.
    pub(crate) fn encode(&self, plain: &Tokenizer, text: &str) -> tokenizers::Result<Vec<u32>> {
        let mut ids = Vec::with_capacity(text.len() / 3);
        let mut word = String::new();
        let mut done = 0;
        while let Some(beyond) = find(text, done, |byte| !byte.is_ascii()) {
            let start = (done + 1..beyond)
                .rev()
                .find(|&at| is_between_words(text, at));
            let start = start.unwrap_or(done);
            let end = (beyond..text.len()).find(|&at| is_between_words(text, at));
            let end = end.unwrap_or(text.len());
            self.ascii(plain, slice(text, done, start), &mut word, &mut ids)?;
            let whole = plain.encode_fast(slice(text, start, end), false)?;
            ids.extend_from_slice(whole.get_ids());
            done = end;
        }
        self.ascii(plain, slice(text, done, text.len()), &mut word, &mut ids)?;
        Ok(ids)
    }

    fn ascii(
        &self,
        plain: &Tokenizer,
        text: &str,
        word: &mut String,
        ids: &mut Vec<u32>,
    ) -> tokenizers::Result<()> {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let (bytes, after) = rest.split_at(word_len(rest));
            rest = after;
            word.clear();
            word.extend(
                bytes
                    .iter()
                    .filter_map(|&b| self.written.get(usize::from(b))),
            );
            let tokens = plain.get_model().tokenize(word)?;
            ids.extend(tokens.iter().map(|token| token.id));
        }
        Ok(())
    }
}

/// Bytes of the word that the text begins with; the text is ASCII and not empty.
fn word_len(text: &[u8]) -> usize {
    let Some(&first) = text.first() else { return 0 };
    if first.is_ascii_digit() {
        return 1;
    }
    if first == b'\'' {
        for short in ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"] {
            if text.starts_with(short.as_bytes()) {
                return short.len();
            }
        }
    }
    let space = usize::from(first == b' ');
    let run = |from: usize, is: fn(u8) -> bool| {
        from + text.iter().skip(from).take_while(|&&byte| is(byte)).count()
    };
    let letters = run(space, |byte| byte.is_ascii_alphabetic());
    if letters > space {
        return letters;
    }
    let others = run(space, is_other);
    if others > space {
        return others;
    }
    // White space: all of it at the end and before a digit (where the text was cut before); all but
    // the last elsewhere, if there is more than one.
    let white = run(0, is_white);
    match text.get(white) {
        Some(next) if white > 1 && !next.is_ascii_digit() => white - 1,
        _ => white,
    }
}

/// What `\s` is in ASCII: U+000B is, U+001C to U+001F are not.
fn is_white(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ')
}

fn is_other(byte: u8) -> bool {
    !is_white(byte) && !byte.is_ascii_alphanumeric()
}

/// True between a letter and a space with a letter after it: whatever stands around them, a word
/// ends there and the next begins with the space, since no alternative of the expression goes on from
/// a letter to a space.
fn is_between_words(text: &str, at: usize) -> bool {
    let bytes = text.as_bytes();
    let letter = |at: Option<usize>| {
        at.and_then(|at| bytes.get(at))
            .is_some_and(u8::is_ascii_alphabetic)
    };
    bytes.get(at) == Some(&b' ') && letter(at.checked_sub(1)) && letter(at.checked_add(1))
}

fn find(text: &str, from: usize, is: impl Fn(u8) -> bool) -> Option<usize> {
    let bytes = text.as_bytes().iter().skip(from);
    bytes.copied().position(is).map(|at| at + from)
}

/// The bounds are character boundaries: each stands before an ASCII byte or at an end.
fn slice(text: &str, start: usize, end: usize) -> &str {
    text.get(start..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test is a panic")]

    use std::path::Path;
    use std::sync::OnceLock;

    use proptest::prelude::*;
    use tokenizers::Tokenizer;

    use super::Words;

    fn both() -> &'static (Tokenizer, Words) {
        static BOTH: OnceLock<(Tokenizer, Words)> = OnceLock::new();
        BOTH.get_or_init(|| {
            let path = "../../fixtures/tiny-model/tokenizer.json";
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
            let mut plain = Tokenizer::from_file(path).unwrap();
            plain.set_encode_special_tokens(true);
            let words = Words::new(&plain).unwrap();
            (plain, words)
        })
    }

    fn same(text: &str) -> Result<(), TestCaseError> {
        let (plain, words) = both();
        let ours = words.encode(plain, text).unwrap();
        let theirs = plain.encode_fast(text, false).unwrap();
        prop_assert_eq!(ours, theirs.get_ids(), "{:?}", text);
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn ascii_splits_as_the_expression_does(text in "[a-z'sdvelrmt 0-9.,!\\-<|>\t\n\r\u{b}\u{1c}\u{0}]{0,24}") {
            same(&text)?;
        }

        #[test]
        fn any_text_does(text in "([a-z]{1,3}|[ \n]{1,3}|[0-9'!]|[éß’½٣\u{a0}\u{85}\u{2028}五🦊\u{301}]|\\PC){0,24}") {
            same(&text)?;
        }
    }

    /// Another way of splitting is the tokenizer's own business.
    #[test]
    fn only_for_the_tokenizer_that_it_was_written_for() {
        let (plain, _) = both();
        let json = plain.to_string(false).unwrap();
        for (from, to) in [
            (
                r#""individual_digits":true"#,
                r#""individual_digits":false"#,
            ),
            (r#""use_regex":true"#, r#""use_regex":false"#),
            (r#""normalizer":null"#, r#""normalizer":{"type":"NFC"}"#),
            (r#""special":true"#, r#""special":false"#),
        ] {
            let other = json.replacen(from, to, 1);
            assert_ne!(other, json, "{from}");
            assert!(Words::new(&other.parse().unwrap()).is_none(), "{to}");
        }
    }
}
