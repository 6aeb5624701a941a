//! Which words of an answer are those of the gold answer, in order: the longest common subsequence
//! that ROUGE-L counts, over the same words (runs of `a–z0–9` in lower case, stemmed above three
//! letters).

use std::ops::Range;

use textmetrics::porter;

/// Products of word counts above this are not aligned (the page would take longer to make than to
/// read); such texts carry no marks.
const MOST_CELLS: usize = 4_000_000;

/// A word of a text: where it stands, and what it is compared by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    range: Range<usize>,
    key: String,
}

/// A piece of a text, and whether it is part of the match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    pub(crate) text: &'a str,
    pub(crate) matched: bool,
}

/// The words of `text` as ROUGE sees them. Lower case first: `K` (the Kelvin sign) is a `k`, and
/// the dot of `İ` ends a word.
pub(crate) fn words(text: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut inside = false;
    for (at, c) in text.char_indices() {
        let end = at + c.len_utf8();
        for lower in c.to_lowercase() {
            let goes_on = inside;
            inside = lower.is_ascii_alphanumeric();
            match words.last_mut().filter(|_| inside && goes_on) {
                Some(word) => {
                    word.key.push(lower);
                    word.range.end = end;
                }
                None if inside => words.push(Word {
                    range: at..end,
                    key: lower.into(),
                }),
                None => {}
            }
        }
    }
    for word in words.iter_mut().filter(|word| word.key.len() > 3) {
        word.key = porter::stem(&word.key).into_owned();
    }
    words
}

/// Whether each word of the gold answer, and each of the other, is in one longest common subsequence
/// of both. As many are marked on either side; the k-th of one belongs to the k-th of the other.
pub(crate) fn common(gold: &[Word], other: &[Word]) -> (Vec<bool>, Vec<bool>) {
    let mut marks = (vec![false; gold.len()], vec![false; other.len()]);
    if gold.is_empty() || other.is_empty() || gold.len() * other.len() > MOST_CELLS {
        return marks;
    }
    let width = other.len() + 1;
    let mut best = vec![0_u32; (gold.len() + 1) * width];
    for i in (0..gold.len()).rev() {
        for j in (0..other.len()).rev() {
            best[i * width + j] = if gold[i].key == other[j].key {
                best[(i + 1) * width + j + 1] + 1
            } else {
                best[(i + 1) * width + j].max(best[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < gold.len() && j < other.len() {
        if gold[i].key == other[j].key {
            (marks.0[i], marks.1[j]) = (true, true);
            (i, j) = (i + 1, j + 1);
        } else if best[(i + 1) * width + j] >= best[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    marks
}

/// `text` in pieces; joined, they are `text` again.
pub(crate) fn pieces<'a>(text: &'a str, words: &[Word], marks: &[bool]) -> Vec<Piece<'a>> {
    let mut pieces = Vec::new();
    let mut done = 0;
    let mut push = |range: Range<usize>, matched: bool| {
        if let Some(text) = text.get(range).filter(|text| !text.is_empty()) {
            pieces.push(Piece { text, matched });
        }
    };
    for (word, _) in words.iter().zip(marks).filter(|(_, marked)| **marked) {
        push(done..word.range.start, false);
        push(word.range.clone(), true);
        done = word.range.end;
    }
    push(done..text.len(), false);
    pieces
}

/// Marks as hexadecimal digits, four words each, the first word in the highest bit.
pub(crate) fn hex(marks: &[bool]) -> String {
    let digit = |four: &[bool]| {
        let bits = (0..4).fold(0, |bits, i| {
            bits * 2 + u32::from(four.get(i) == Some(&true))
        });
        char::from_digit(bits, 16).unwrap_or('0')
    };
    marks.chunks(4).map(digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use textmetrics::rouge::RougeScorer;

    fn matched<'a>(gold: &str, text: &'a str) -> Vec<&'a str> {
        let (a, b) = (words(gold), words(text));
        let marks = common(&a, &b).1;
        let pieces = pieces(text, &b, &marks).into_iter();
        pieces.filter(|p| p.matched).map(|p| p.text).collect()
    }

    #[test]
    fn words_match_in_order_by_their_stems() {
        assert_eq!(
            matched(
                "The FTSE 100, and running cats.",
                "It is (the) ftse 100! A cats' run"
            ),
            ["the", "ftse", "100", "cats"]
        );
        assert_eq!(matched("a b", "b a"), ["b"]);
        assert!(matched("a - b", "- -").is_empty());
        assert_eq!(
            matched("kelvin i", "\u{212a}elvin \u{130}x"),
            ["\u{212a}elvin", "\u{130}"]
        );
    }

    #[test]
    fn marks_are_digits() {
        let marks = [true, false, false, false, false, true];
        assert_eq!(hex(&marks), "84");
        assert_eq!(hex(&[]), "");
    }

    proptest! {
        #[test]
        fn the_marks_are_what_rouge_l_counts(
            gold in "([a-cA-C]{1,2}ing|[a-dé\u{130}\u{212a}.,-]{0,4}|[ \n]){0,12}",
            text in "([a-cA-C]{1,2}ing|[a-dé\u{130}\u{212a}.,-]{0,4}|[ \n]){0,12}",
        ) {
            let (a, b) = (words(&gold), words(&text));
            let marks = common(&a, &b);
            let hits = marks.1.iter().filter(|m| **m).count();
            prop_assert_eq!(hits, marks.0.iter().filter(|m| **m).count());
            let rouge = RougeScorer::new(true).score(&gold, &text).rouge_l;
            let share = |of: usize| if hits == 0 { 0.0 } else { hits as f64 / of as f64 };
            prop_assert_eq!((rouge.precision, rouge.recall), (share(b.len()), share(a.len())));
        }

        #[test]
        fn pieces_are_the_whole_text(gold in ".{0,40}", text in ".{0,40}") {
            let (a, b) = (words(&gold), words(&text));
            let marks = common(&a, &b).1;
            let joined: String = pieces(&text, &b, &marks).iter().map(|p| p.text).collect();
            prop_assert_eq!(joined, text);
        }
    }
}
