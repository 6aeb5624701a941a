//! Text as Python sees it: `\w`, `\s`, `str.lower`, each decided by a committed table.
//!
//! Neither `char::is_alphanumeric` nor the `regex` crate's `\w` is Python's set (U+0940, U+24D0 and
//! U+203F tell them apart), and Rust's own tables change with the compiler. Tables generated from
//! Python keep a score the same on every toolchain.

#[rustfmt::skip]
mod tables;

pub use self::tables::UNICODE_VERSION;
use self::tables::{CASE_IGNORABLE, CASED, LOWER, SPACE, WORD};

/// Whether Python's `\w` matches: `str.isalnum()` or `_`.
///
/// No combining mark and no connector punctuation but `_` is in the set.
pub fn is_word(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_alphanumeric() || c == '_'
    } else {
        contains(&WORD, c)
    }
}

/// Whether Python's `\s` matches: `str.isspace()`, which includes U+001C to U+001F.
pub fn is_space(c: char) -> bool {
    if c.is_ascii() {
        matches!(c, '\t'..='\r' | '\x1c'..='\x1f' | ' ')
    } else {
        contains(&SPACE, c)
    }
}

/// Python's `str.lower()`, the final sigma included.
pub fn lower(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    lower_into(text, &mut out);
    out
}

/// Appends `text.lower()` to `out`.
pub(crate) fn lower_into(text: &str, out: &mut String) {
    if text.is_ascii() {
        let start = out.len();
        out.push_str(text);
        out[start..].make_ascii_lowercase();
        return;
    }
    for (at, c) in text.char_indices() {
        match c {
            'Σ' => out.push(lower_sigma(&text[..at], &text[at + c.len_utf8()..])),
            'İ' => out.push_str("i\u{307}"),
            _ => out.push(lower_char(c)),
        }
    }
}

fn lower_char(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_lowercase();
    }
    let code = c as u32;
    let at = LOWER.partition_point(|&(_, last, _, _)| last < code);
    match LOWER.get(at) {
        Some(&(first, _, step, delta)) if first <= code && (code - first).is_multiple_of(step) => {
            char::from_u32(code.wrapping_add_signed(delta)).unwrap_or(c)
        }
        _ => c,
    }
}

/// ς at the end of a word, σ elsewhere (Unicode's `Final_Sigma`, as `CPython` reads it).
fn lower_sigma(before: &str, after: &str) -> char {
    let cased = |c: Option<char>| c.is_some_and(|c| contains(&CASED, c));
    let looked_through = |c: &char| contains(&CASE_IGNORABLE, *c);
    let follows = cased(before.chars().rev().find(|c| !looked_through(c)));
    let precedes = cased(after.chars().find(|c| !looked_through(c)));
    if follows && !precedes { 'ς' } else { 'σ' }
}

/// Whether a sorted table of inclusive ranges holds `c`.
fn contains(table: &[(u32, u32)], c: char) -> bool {
    let code = c as u32;
    let at = table.partition_point(|&(_, last)| last < code);
    table.get(at).is_some_and(|&(first, _)| first <= code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_is_python_s_set() {
        for c in ['a', '_', '½', '٣', 'ß', '中', '²'] {
            assert!(is_word(c), "{c}");
        }
        for c in [
            '\u{940}', '\u{24d0}', '\u{203f}', '\u{200d}', '\u{301}', '-', ' ',
        ] {
            assert!(!is_word(c), "{c}");
        }
    }

    #[test]
    fn ascii_agrees_with_the_tables() {
        for c in (0..128u8).map(char::from) {
            assert_eq!(is_word(c), contains(&WORD, c), "{c:?}");
            assert_eq!(is_space(c), contains(&SPACE, c), "{c:?}");
        }
    }

    #[test]
    fn lower_case_of_awkward_letters() {
        assert_eq!(lower("ΟΔΟΣ ΣΑΣ Σ Α.Σ"), "οδος σας σ α.ς");
        assert_eq!(lower("İI"), "i\u{307}i");
        assert_eq!(lower("ẞ\u{212a}Å"), "ßkå");
        assert_eq!(lower("ǅ Ǆǈΐ"), "ǆ ǆǉΐ");
    }
}
