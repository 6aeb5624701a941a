//! Two answers that are generated at the same time, side by side or one after the other.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Narrower terminals show one answer after the other.
const NARROWEST: usize = 60;
const BETWEEN: &str = " │ ";

/// Takes both answers piece by piece, and says what can be shown of them.
#[derive(Debug)]
pub(crate) struct Beside {
    /// Cells of one column; one after the other where there is no room for two.
    width: Option<usize>,
    names: [String; 2],
    texts: [String; 2],
    ended: [bool; 2],
    /// Rows shown so far; one after the other, bytes of the second answer.
    shown: usize,
}

impl Beside {
    /// For two answers by `names`; `width` is the terminal's, where there is one.
    pub(crate) fn new(names: [String; 2], width: Option<usize>) -> Self {
        let width = width.filter(|width| *width >= NARROWEST);
        Self {
            width: width.map(|width| (width - BETWEEN.width()) / 2),
            names,
            texts: Default::default(),
            ended: [false; 2],
            shown: 0,
        }
    }

    /// What stands above the answers.
    pub(crate) fn head(&self) -> String {
        let Some(width) = self.width else {
            return format!("{}:\n", self.names[0]);
        };
        let [left, right] = &self.names;
        let rule = "─".repeat(width);
        format!("{}{BETWEEN}{right}\n{rule}─┼─{rule}\n", padded(left, width))
    }

    /// Takes a piece of answer `which`; what can be shown now.
    pub(crate) fn push(&mut self, which: usize, piece: &str) -> String {
        self.texts[which].push_str(piece);
        match self.width {
            Some(width) => self.rows(width),
            // The first is shown as it comes; the second waits for its end.
            None if which == 0 => piece.to_owned(),
            None => self.second(),
        }
    }

    /// Answer `which` is complete; what can be shown now.
    pub(crate) fn end(&mut self, which: usize) -> String {
        self.ended[which] = true;
        let mut text = match self.width {
            Some(width) => self.rows(width),
            None if which == 0 => {
                let second = self.second();
                format!("\n\n{}:\n{second}", self.names[1])
            }
            None => String::new(),
        };
        if self.width.is_none() && self.ended == [true; 2] {
            text.push('\n');
        }
        text
    }

    /// What was not shown of the second answer, once it may be.
    fn second(&mut self) -> String {
        if !self.ended[0] {
            return String::new();
        }
        let text = self.texts[1].get(self.shown..).unwrap_or_default();
        self.shown = self.texts[1].len();
        text.to_owned()
    }

    /// The next rows of which both halves are certain.
    fn rows(&mut self, width: usize) -> String {
        let columns = [0, 1].map(|which| wrapped(&self.texts[which], width));
        let certain = |which: usize| {
            let lines: &Vec<String> = &columns[which];
            // A line that may still grow is the last; after the end there are as many empty lines as are wanted.
            if self.ended[which] {
                usize::MAX
            } else {
                lines.len() - 1
            }
        };
        let longest = columns[0].len().max(columns[1].len());
        let ready = certain(0).min(certain(1)).min(longest);
        let line = |which: usize, at: usize| columns[which].get(at).map_or("", String::as_str);
        let rows = (self.shown..ready).map(|at| {
            let row = format!("{}{BETWEEN}{}", padded(line(0, at), width), line(1, at));
            format!("{}\n", row.trim_end_matches(' '))
        });
        let text = rows.collect();
        self.shown = self.shown.max(ready);
        text
    }
}

fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

/// Lines of at most `width` cells, broken at spaces where there are some. All but the last stay as they are when text is
/// added.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut line = String::new();
        for word in paragraph.trim_end_matches('\r').split_inclusive(' ') {
            if !line.is_empty() && line.width() + word.trim_end().width() > width {
                lines.push(std::mem::take(&mut line));
            }
            // A tab has no width of its own.
            for c in word.chars().map(|c| if c.is_control() { ' ' } else { c }) {
                if line.width() + c.width().unwrap_or(0) > width {
                    lines.push(std::mem::take(&mut line));
                    if c == ' ' {
                        continue;
                    }
                }
                line.push(c);
            }
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_at_spaces() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("a\n\nbcdefgh", 3), ["a", "", "bcd", "efg", "h"]);
        assert_eq!(wrapped("日本語", 4), ["日本", "語"]);
        assert_eq!(wrapped("", 4), [""]);
    }

    #[test]
    fn all_lines_but_the_last_are_certain() {
        let text = "It was the best of times,\nit was incomprehensibilities of times.  So ";
        for width in [5, 8, 13] {
            let whole = wrapped(text, width);
            assert!(whole.iter().all(|line| line.width() <= width), "{whole:?}");
            for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
                let part = wrapped(&text[..end], width);
                assert_eq!(part[..part.len() - 1], whole[..part.len() - 1], "{end}");
            }
        }
    }

    fn names() -> [String; 2] {
        ["base".to_owned(), "r8".to_owned()]
    }

    #[test]
    fn rows_come_when_both_halves_are_certain() {
        let mut both = Beside::new(names(), Some(63));
        let head = both.head();
        assert_eq!(head.lines().next().unwrap().width(), 30 + 3 + 2, "{head}");
        let mut text = both.push(0, "one\ntwo\nthree");
        assert_eq!(text, "");
        text += &both.push(1, "ONE\nTW");
        assert_eq!(text, format!("{:30} │ ONE\n", "one"));
        text += &both.push(1, "O");
        text += &both.end(1);
        assert_eq!(text.lines().last().unwrap(), format!("{:30} │ TWO", "two"));
        text += &both.end(0);
        assert_eq!(text.lines().last().unwrap(), format!("{:30} │", "three"));
        assert_eq!(text.lines().count(), 3);
    }

    #[test]
    fn without_room_one_follows_the_other() {
        for width in [None, Some(40)] {
            let mut both = Beside::new(names(), width);
            let mut text = both.head();
            text += &both.push(1, "ON");
            text += &both.push(0, "one");
            text += &both.push(1, "E");
            text += &both.end(0);
            text += &both.push(1, "!");
            text += &both.end(1);
            assert_eq!(text, "base:\none\n\nr8:\nONE!\n");
            let mut both = Beside::new(names(), width);
            let text = [
                both.head(),
                both.push(1, "ONE"),
                both.end(1),
                both.push(0, "one"),
                both.end(0),
            ]
            .concat();
            assert_eq!(text, "base:\none\n\nr8:\nONE\n");
        }
    }
}
