//! How a byte-level vocabulary writes bytes, and for which of them it has no token.

use std::collections::HashMap;
use std::sync::LazyLock;

use tokenizers::{DecoderWrapper, Tokenizer};

/// True for each byte without a token.
#[derive(Debug, Clone)]
pub(crate) struct MissingBytes([bool; 256]);

impl MissingBytes {
    /// None are missing where the tokenizer does not work on bytes.
    pub(crate) fn new(tokenizer: &Tokenizer) -> Self {
        let mut missing = [false; 256];
        if let Some(DecoderWrapper::ByteLevel(_)) = tokenizer.get_decoder() {
            for (missing, written) in missing.iter_mut().zip(alphabet()) {
                *missing = tokenizer.token_to_id(&written.to_string()).is_none();
            }
        }
        Self(missing)
    }

    /// Characters that hold such a byte.
    pub(crate) fn count(&self, text: &str) -> usize {
        let missing = |byte: u8| self.0[usize::from(byte)];
        if !text.bytes().any(missing) {
            return 0;
        }
        let holds = |c: &char| c.encode_utf8(&mut [0; 4]).bytes().any(missing);
        text.chars().filter(holds).count()
    }
}

/// The bytes of a token of a byte-level vocabulary, from the characters it is written in; `None` for other vocabularies.
pub(crate) fn bytes_of(tokenizer: &Tokenizer, token: &str) -> Option<Vec<u8>> {
    static BYTES: LazyLock<HashMap<char, u8>> =
        LazyLock::new(|| alphabet().zip(0..=u8::MAX).collect());
    let Some(DecoderWrapper::ByteLevel(_)) = tokenizer.get_decoder() else {
        return None;
    };
    token.chars().map(|c| BYTES.get(&c).copied()).collect()
}

/// How GPT-2's vocabulary writes each byte: printable Latin-1 as itself, the others in order from
/// U+0100 on.
pub(crate) fn alphabet() -> impl Iterator<Item = char> {
    let mut others = '\u{100}'..;
    (0..=u8::MAX).filter_map(move |byte| match char::from(byte) {
        c @ ('!'..='~' | '¡'..='¬' | '®'..='ÿ') => Some(c),
        _ => others.next(),
    })
}

#[cfg(test)]
mod tests {
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    use super::alphabet;

    #[test]
    fn the_alphabet_is_that_of_the_tokenizers_crate() {
        let ours: Vec<char> = alphabet().collect();
        let theirs = ByteLevel::alphabet();
        assert!(ours.len() == 256 && ours.iter().all(|c| theirs.contains(c)));
        assert_eq!((ours[b' ' as usize], ours[b'\n' as usize]), ('Ġ', 'Ċ'));
    }
}
