//! What counts as the same text: its words in lower case.

/// The words of a text, in lower case, joined by single spaces. A word is a run of letters and
/// digits of any script; case, punctuation and spacing are lost.
pub(crate) fn normalise(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut within = false;
    for c in text.chars() {
        if !c.is_alphanumeric() {
            within = false;
            continue;
        }
        if !within && !out.is_empty() {
            out.push(' ');
        }
        within = true;
        if c.is_ascii() {
            out.push(c.to_ascii_lowercase());
        } else {
            out.extend(c.to_lowercase());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::normalise;

    #[test]
    fn words_remain() {
        assert_eq!(
            normalise("  Who was — ADA\u{a0}Lovelace?!"),
            "who was ada lovelace"
        );
        assert_eq!(normalise("ÉCOLE, 第2章"), "école 第2章");
        assert_eq!(normalise("?!"), "");
    }
}
