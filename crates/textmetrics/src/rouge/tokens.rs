//! The tokeniser of `rouge_score`, straight to stem ids.

use crate::intern::{Interner, WordMap};
use crate::porter::stem_bytes;

/// A text as stem ids, with the places where its lines begin.
#[derive(Default)]
pub(super) struct Tokens {
    /// Every token, line after line.
    pub(super) ids: Vec<u32>,
    /// The end of each line that has a token.
    ends: Vec<usize>,
}

impl Tokens {
    /// The lines that have a token: `rougeLsum`'s sentences.
    pub(super) fn lines(&self) -> impl Iterator<Item = &[u32]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, &end)| &self.ids[start..end])
    }

    /// The number of [`lines`](Self::lines).
    pub(super) fn line_count(&self) -> usize {
        self.ends.len()
    }

    fn end_line(&mut self) {
        if self.ids.len() > self.ends.last().copied().unwrap_or(0) {
            self.ends.push(self.ids.len());
        }
    }
}

/// The lower case of an ASCII letter or digit, 0 for every other byte.
const LOWER: [u8; 256] = {
    let mut lower = [0; 256];
    let mut b = 0u8;
    while b < 128 {
        if b.is_ascii_alphanumeric() {
            lower[b as usize] = b.to_ascii_lowercase();
        }
        b += 1;
    }
    lower
};

/// Reads words and remembers the id of each one's stem.
pub(super) struct Tokenizer {
    stem: bool,
    /// Word → id of its stem; `None` for a word that stems to nothing.
    words: WordMap<Option<u32>>,
    stems: Interner,
    word: Vec<u8>,
}

impl Tokenizer {
    pub(super) fn new(stem: bool) -> Self {
        let (words, stems) = Default::default();
        Self {
            stem,
            words,
            stems,
            word: Vec::new(),
        }
    }

    /// One more than the largest id given out.
    pub(super) fn ids(&self) -> usize {
        self.stems.len()
    }

    /// Keeps memory bounded; call it where no id is in use.
    pub(super) fn trim(&mut self) {
        // A stem has at least one word, so the words run out of room first.
        if self.words.len() > super::WORD_LIMIT || self.stems.trim() {
            self.words.clear();
            self.stems = Interner::default();
        }
    }

    /// Lower-cases, splits on everything but `[a-z0-9]`, stems words of more than three letters.
    ///
    /// Works on bytes: of all characters outside ASCII only U+0130 (İ → i + U+0307) and U+212A
    /// (K → k) have an ASCII letter in their lower case; a unit test goes through all of them. Line
    /// feeds end lines, so `rougeLsum`'s sentences come for nothing.
    pub(super) fn read(&mut self, text: &str, out: &mut Tokens) {
        out.ids.clear();
        out.ends.clear();
        let bytes = text.as_bytes();
        let mut word = std::mem::take(&mut self.word);
        word.clear();
        let mut at = 0;
        while let Some(&b) = bytes.get(at) {
            at += 1;
            let lower = LOWER[usize::from(b)];
            if lower != 0 {
                word.push(lower);
                continue;
            }
            match b {
                0xe2 if bytes[at..].starts_with(&[0x84, 0xaa]) => {
                    word.push(b'k');
                    at += 2;
                }
                _ => {
                    if b == 0xc4 && bytes.get(at) == Some(&0xb0) {
                        word.push(b'i');
                        at += 1;
                    }
                    self.finish(&mut word, out);
                    if b == b'\n' {
                        out.end_line();
                    }
                }
            }
        }
        self.finish(&mut word, out);
        out.end_line();
        self.word = word;
    }

    /// Ends a word: its stem's id goes to `out`, and `word` is empty again.
    fn finish(&mut self, word: &mut Vec<u8>, out: &mut Tokens) {
        if word.is_empty() {
            return;
        }
        let id = if let Some(id) = self.words.get(word) {
            id
        } else {
            let whole = word.clone();
            if self.stem && word.len() > 3 {
                stem_bytes(word);
            }
            let id = (!word.is_empty()).then(|| self.stems.id(word));
            self.words.insert(&whole, id);
            id
        };
        out.ids.extend(id);
        word.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unicode::lower;

    fn words(text: &str) -> Vec<Vec<u32>> {
        let mut out = Tokens::default();
        Tokenizer::new(false).read(text, &mut out);
        out.lines().map(<[u32]>::to_vec).collect()
    }

    #[test]
    fn only_two_characters_lower_into_ascii() {
        let found: Vec<char> = (0x80..=0x10_ffff)
            .filter_map(char::from_u32)
            .filter(|c| {
                lower(c.encode_utf8(&mut [0; 4]))
                    .bytes()
                    .any(|b| b.is_ascii())
            })
            .collect();
        assert_eq!(found, ['\u{130}', '\u{212a}']);
    }

    #[test]
    fn both_of_them_are_read() {
        assert_eq!(
            words("\u{130}x i x \u{212a}elvin kelvin"),
            [[0, 1, 0, 1, 2, 2]]
        );
    }

    #[test]
    fn lines_without_a_token_do_not_count() {
        assert_eq!(words("\n\na\n...\n b a\r\n"), [vec![0], vec![1, 0]]);
        assert!(words("\n").is_empty());
    }
}
