//! The normal form in which answers are compared.

use crate::unicode::{is_space, is_word, lower_into};

/// The original's normal form of an answer.
///
/// Lower-case; strip; turn every run of white space into one space; delete every character that is
/// neither `\w` nor `\s` (all three in Python's sense). A space on each side of a deleted character
/// stays, so `"a - b"` becomes `"a  b"`.
///
/// ```
/// assert_eq!(textmetrics::normalize("  The\tEiffel-Tower, Paris. "), "the eiffeltower paris");
/// ```
pub fn normalize(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut scratch = String::new();
    normalize_into(text, &mut scratch, &mut out);
    out
}

/// [`normalize`] into a buffer that is used again; `scratch` holds the lower-cased text.
pub(crate) fn normalize_into(text: &str, scratch: &mut String, out: &mut String) {
    scratch.clear();
    out.clear();
    if text.is_ascii() {
        normalize_ascii(text, out);
        return;
    }
    lower_into(text, scratch);
    let mut started = false;
    let mut space = false;
    for c in scratch.chars() {
        if is_space(c) {
            space = started;
            continue;
        }
        if space {
            out.push(' ');
            space = false;
        }
        started = true;
        if is_word(c) {
            out.push(c);
        }
    }
}

/// What becomes of an ASCII byte: its lower case, [`SPACE`], or 0 where it is deleted.
const ASCII: [u8; 128] = {
    let mut table = [0; 128];
    let mut b = 0u8;
    while b < 128 {
        table[b as usize] = match b {
            b'\t'..=b'\r' | 0x1c..=0x1f | b' ' => SPACE,
            b'a'..=b'z' | b'0'..=b'9' | b'_' => b,
            b'A'..=b'Z' => b.to_ascii_lowercase(),
            _ => 0,
        };
        b += 1;
    }
    table
};

const SPACE: u8 = b' ';

/// The same in one pass, without looking characters up.
fn normalize_ascii(text: &str, out: &mut String) {
    let mut bytes = std::mem::take(out).into_bytes();
    bytes.reserve(text.len());
    let (mut started, mut space) = (false, false);
    for b in text.bytes() {
        match ASCII[usize::from(b & 127)] {
            SPACE => space = started,
            kept => {
                if space {
                    bytes.push(SPACE);
                    space = false;
                }
                started = true;
                if kept != 0 {
                    bytes.push(kept);
                }
            }
        }
    }
    // Nothing but ASCII was written.
    *out = String::from_utf8(bytes).unwrap_or_default();
}

/// The tokens of a normalised text. Its only white space is the space.
pub(crate) fn tokens(normal: &str) -> impl Iterator<Item = &str> {
    normal.split(' ').filter(|t| !t.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletion_comes_after_stripping_and_collapsing() {
        assert_eq!(normalize("- a - b -"), " a  b ");
        assert_eq!(normalize("\u{1c}a\u{1f}\u{85}b\u{3000}"), "a b");
        assert_eq!(normalize(" \n "), "");
        assert_eq!(normalize("...!"), "");
    }

    #[test]
    fn ascii_has_no_rules_of_its_own() {
        for a in 0..128u8 {
            for b in [b'x', b' ', b'.', a] {
                let text = String::from_utf8(vec![b, a, b'Q', a, a, b]).unwrap();
                // What is not ASCII takes the other path, and is deleted.
                let other = normalize(&format!("{text}\u{2020}"));
                assert_eq!(normalize(&format!("{text}.")), other, "{text:?}");
            }
        }
    }
}
