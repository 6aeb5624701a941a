//! The tokeniser `13a`: sacreBLEU's reading of `mteval-v13a.pl`.

use crate::unicode::is_space;

/// Splits a line as sacreBLEU's `Tokenizer13a` does; keeps its buffers from line to line.
#[derive(Default)]
pub(super) struct Tokenizer13a {
    from: String,
    to: String,
}

impl Tokenizer13a {
    /// The tokens of `line`.
    pub(super) fn tokens(&mut self, line: &str) -> impl Iterator<Item = &str> {
        self.from.clear();
        self.from.push(' ');
        self.from.push_str(line.trim_end_matches(is_space));
        for (what, with) in [("<skipped>", ""), ("-\n", ""), ("\n", " ")] {
            self.replace(what, with);
        }
        if self.from.contains('&') {
            // In this order, so that `&amp;lt;` becomes `<`.
            for (what, with) in [
                ("&quot;", "\""),
                ("&amp;", "&"),
                ("&lt;", "<"),
                ("&gt;", ">"),
            ] {
                self.replace(what, with);
            }
        }
        self.from.push(' ');
        self.space_out_punctuation();
        let mark = |c: char| matches!(c, '.' | ',');
        let digit = |c: char| c.is_ascii_digit();
        self.rewrite_pairs(|a, b| !digit(a) && mark(b), |a, b| [a, ' ', b, ' ']);
        self.rewrite_pairs(|a, b| mark(a) && !digit(b), |a, b| [' ', a, ' ', b]);
        self.rewrite_pairs(|a, b| digit(a) && b == '-', |a, b| [a, ' ', b, ' ']);
        self.from.split(is_space).filter(|token| !token.is_empty())
    }

    /// `str.replace`.
    fn replace(&mut self, what: &str, with: &str) {
        if !self.from.contains(what) {
            return;
        }
        self.to.clear();
        let mut pieces = self.from.split(what);
        self.to.extend(pieces.next());
        for piece in pieces {
            self.to.push_str(with);
            self.to.push_str(piece);
        }
        std::mem::swap(&mut self.from, &mut self.to);
    }

    /// Spaces around all ASCII punctuation but apostrophe, comma, dash and full stop.
    fn space_out_punctuation(&mut self) {
        self.to.clear();
        for c in self.from.chars() {
            if matches!(c, '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/') {
                self.to.extend([' ', c, ' ']);
            } else {
                self.to.push(c);
            }
        }
        std::mem::swap(&mut self.from, &mut self.to);
    }

    /// `re.sub` of a pattern that matches two characters: from the left, without overlap.
    fn rewrite_pairs(
        &mut self,
        matches: impl Fn(char, char) -> bool,
        rewrite: impl Fn(char, char) -> [char; 4],
    ) {
        self.to.clear();
        let mut chars = self.from.chars().peekable();
        while let Some(a) = chars.next() {
            match chars.next_if(|&b| matches(a, b)) {
                Some(b) => self.to.extend(rewrite(a, b)),
                None => self.to.push(a),
            }
        }
        std::mem::swap(&mut self.from, &mut self.to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> Vec<String> {
        let mut tokenizer = Tokenizer13a::default();
        tokenizer.tokens(line).map(str::to_owned).collect()
    }

    #[test]
    fn marks_dashes_and_entities() {
        assert_eq!(
            split("It's 1,000.5, no?"),
            ["It's", "1,000.5", ",", "no", "?"]
        );
        assert_eq!(
            split("a-b 3-4 <skipped>x-\ny"),
            ["a-b", "3", "-", "4", "xy"]
        );
        assert_eq!(split("&amp;lt;&quot;"), ["<", "\""]);
        assert_eq!(split("..."), [".", ".", "."]);
        assert!(split(" \n\u{3000}").is_empty());
    }
}
