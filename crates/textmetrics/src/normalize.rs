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
}
