//! A row made visible: which tokens are learnt, where they begin and end, which of them are control
//! tokens. For the terminal here, for the browser in [`mask_html`].
//!
//! What a row says comes from data that nobody has read. So characters that could steer a terminal
//! or hide text (escape sequences, overrides of direction, characters without width) are written out.

mod html;

use std::fmt::Write as _;
use std::ops::Range;

pub use html::mask_html;

use crate::error::Result;
use crate::prompt::Cut;
use crate::prompter::Prompter;
use crate::row::TrainingRow;

/// Stands between two tokens where there is no colour.
const BOUNDARY: char = '▏';
const LEARNT: [char; 2] = ['⟦', '⟧'];
const CONTROL: [char; 2] = ['⟪', '⟫'];

/// The row for a terminal, under a line that counts its tokens.
///
/// Learnt tokens stand in `⟦…⟧`, control tokens in `⟪…⟫`, and `▏` is between tokens; a line break
/// is `⏎`, and a break. With `color`, learnt tokens are green besides and control tokens magenta, and
/// every other token is underlined in place of the `▏`. A character that takes several tokens is
/// shown as one.
///
/// # Errors
/// If the tokenizer fails to decode.
pub fn show_mask(prompter: &Prompter, row: &TrainingRow, color: bool) -> Result<String> {
    let mut out = headline(row) + "\n";
    let mut learnt = false;
    let cells = cells(prompter, row)?;
    for (at, cell) in cells.iter().enumerate() {
        let goes_on = learnt && !cell.begins;
        if learnt && !(goes_on && cell.learnt) {
            out.push(LEARNT[1]);
        }
        if cell.learnt && !goes_on {
            out.push(LEARNT[0]);
        } else if at > 0 && learnt == cell.learnt && !color {
            out.push(BOUNDARY);
        }
        learnt = cell.learnt;
        let text = visible(&cell.text).replace('⏎', "⏎\n");
        let text = if cell.control {
            format!("{}{text}{}", CONTROL[0], CONTROL[1])
        } else {
            text
        };
        if color {
            paint(&mut out, &text, cell, at % 2 == 1);
        } else {
            out += &text;
        }
    }
    if learnt {
        out.push(LEARNT[1]);
    }
    Ok(out)
}

/// Writes text in the colour of its cell; a line break ends the colour, as some terminals would fill
/// the line with it.
fn paint(out: &mut String, text: &str, cell: &Cell, odd: bool) {
    let color = match (cell.learnt, cell.control) {
        (true, false) => "32",
        (true, true) => "1;32",
        (false, true) => "35",
        (false, false) => "39",
    };
    let line = if odd { ";4" } else { "" };
    for part in text.split_inclusive('\n') {
        let (part, end) = part.strip_suffix('\n').map_or((part, ""), |p| (p, "\n"));
        if !part.is_empty() {
            let _ = write!(out, "\x1b[{color}{line}m{part}\x1b[0m");
        }
        out.push_str(end);
    }
}

/// The row in numbers.
fn headline(row: &TrainingRow) -> String {
    let learnt = row.labels().count();
    let mut line = format!("{} tokens, {learnt} learnt", row.ids.len());
    if let Some(cut) = &row.truncated {
        let part = match cut.cut {
            Cut::Context => "context shortened",
            Cut::End => "end cut off",
            Cut::Turns => "oldest turns left out",
        };
        let _ = write!(line, "; {part}, {} tokens before", cut.ids_before);
    }
    line
}

/// A token, or the few that make up one character.
struct Cell {
    /// Positions in the row.
    at: Range<usize>,
    text: String,
    learnt: bool,
    /// It is the first of its supervised range.
    begins: bool,
    control: bool,
}

/// No character has more bytes, and no token has less than one.
const MOST_TOKENS: usize = 4;

fn cells(prompter: &Prompter, row: &TrainingRow) -> Result<Vec<Cell>> {
    let mut learnt = vec![false; row.ids.len()];
    row.labels().for_each(|at| {
        if let Some(learnt) = learnt.get_mut(at) {
            *learnt = true;
        }
    });
    let begins = |at: usize| row.supervised.iter().any(|range| range.start == at);
    let control = |at: usize| prompter.tokenizer().is_control(row.ids[at]);
    let mut cells = Vec::new();
    let mut start = 0;
    while start < row.ids.len() {
        let mut end = start + 1;
        let mut text = prompter.decode(&row.ids[start..end], false)?;
        let same = |at: usize| {
            at < row.ids.len() && !control(at) && learnt[at] == learnt[start] && !begins(at)
        };
        while text.ends_with('\u{fffd}') && end - start < MOST_TOKENS && same(end) {
            end += 1;
            text = prompter.decode(&row.ids[start..end], false)?;
        }
        cells.push(Cell {
            at: start..end,
            text,
            learnt: learnt[start],
            begins: begins(start),
            control: control(start),
        });
        start = end;
    }
    Ok(cells)
}

/// Text in which every character can be seen, and none has power over what shows it; a line break
/// becomes `⏎`.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push('⏎'),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || is_hidden(c) || is_mark(c) => {
                out.extend(c.escape_unicode());
            }
            c => out.push(c),
        }
    }
    out
}

/// Characters that are not drawn, or that change how others are.
fn is_hidden(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// Our own marks, where the text has them.
fn is_mark(c: char) -> bool {
    c == BOUNDARY || c == '⏎' || LEARNT.contains(&c) || CONTROL.contains(&c)
}
