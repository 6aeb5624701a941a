//! Which words of an answer are those of the gold answer, in order: the longest common subsequence
//! of words, which is what ROUGE-L counts.

/// Products of word counts above this are not aligned (the page would take longer to make than to
/// read); such a text is shown plain.
const MOST_CELLS: usize = 4_000_000;

/// A piece of a text, and whether it is part of the match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    pub(crate) text: &'a str,
    pub(crate) matched: bool,
}

/// `text` in pieces (joined, they are `text` again) with the words that it shares, in order, with
/// `gold`. Words are compared in lower case and without punctuation at their ends.
pub(crate) fn against<'a>(gold: &str, text: &'a str) -> Vec<Piece<'a>> {
    let words = words(text);
    let keys: Vec<String> = words.iter().map(|w| key(w)).collect();
    let gold: Vec<String> = self::words(gold).into_iter().map(key).collect();
    let matched = common(&gold, &keys);
    let mut pieces = Vec::with_capacity(words.len() * 2 + 1);
    let mut rest = text;
    for (word, matched) in words.iter().zip(matched) {
        let Some((space, after)) = rest.split_once(word) else {
            break;
        };
        push(&mut pieces, space, false);
        push(&mut pieces, word, matched);
        rest = after;
    }
    push(&mut pieces, rest, false);
    pieces
}

fn push<'a>(pieces: &mut Vec<Piece<'a>>, text: &'a str, matched: bool) {
    if !text.is_empty() {
        pieces.push(Piece { text, matched });
    }
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn key(word: &str) -> String {
    word.trim_matches(|c: char| !c.is_alphanumeric())
        .to_lowercase()
}

/// For each word of `b`, whether it is in one longest common subsequence with `a`. Words that are
/// all punctuation never match.
fn common(a: &[String], b: &[String]) -> Vec<bool> {
    let mut in_common = vec![false; b.len()];
    if a.is_empty() || b.is_empty() || a.len() * b.len() > MOST_CELLS {
        return in_common;
    }
    let width = b.len() + 1;
    let mut best = vec![0_u32; (a.len() + 1) * width];
    let same = |i: usize, j: usize| !a[i].is_empty() && a[i] == b[j];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            best[i * width + j] = if same(i, j) {
                best[(i + 1) * width + j + 1] + 1
            } else {
                best[(i + 1) * width + j].max(best[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < a.len() && j < b.len() {
        if same(i, j) {
            in_common[j] = true;
            (i, j) = (i + 1, j + 1);
        } else if best[(i + 1) * width + j] >= best[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    in_common
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched<'a>(gold: &str, text: &'a str) -> Vec<&'a str> {
        against(gold, text)
            .into_iter()
            .filter(|p| p.matched)
            .map(|p| p.text)
            .collect()
    }

    #[test]
    fn words_match_in_order_whatever_their_case_and_punctuation() {
        assert_eq!(
            matched("The FTSE 100, and Euronext.", "It is (the) ftse 100!"),
            ["(the)", "ftse", "100!"]
        );
        assert_eq!(matched("a b", "b a"), ["b"]);
        assert!(matched("a - b", "- -").is_empty());
        assert!(matched("", "x").is_empty());
    }

    #[test]
    fn pieces_are_the_whole_text() {
        for text in ["", "  a  b\n\nc ", "x", "aa a aa", "é\u{3000}ü"] {
            let joined: String = against("a c é", text).iter().map(|p| p.text).collect();
            assert_eq!(joined, text);
        }
    }
}
