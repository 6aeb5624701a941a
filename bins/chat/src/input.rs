//! What the user types: lines, put together to turns.

use std::io::{self, BufRead, IsTerminal};

use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{Behavior, Config, Editor};
use stage::{Exit, OrExit, StageError};

/// Begins and ends a turn of several lines.
const FENCE: &str = "\"\"\"";

/// Where turns come from.
pub(crate) enum Input {
    /// A person at a terminal, with an editor for the line.
    Person(Box<Editor<(), MemHistory>>),
    /// A pipe or a file.
    Pipe,
}

/// A line, or why there is none.
enum Line {
    Text(String),
    /// Ctrl-C at the prompt.
    Interrupted,
    End,
}

impl Input {
    /// Standard input.
    ///
    /// # Errors
    /// Exit code 1 if the terminal cannot be used.
    pub(crate) fn open() -> Result<Self, StageError> {
        if !io::stdin().is_terminal() {
            return Ok(Self::Pipe);
        }
        // Answers may go to a file; the line is edited on the terminal all the same.
        let behavior = if io::stdout().is_terminal() {
            Behavior::Stdio
        } else {
            Behavior::PreferTerm
        };
        let config = Config::builder().behavior(behavior).build();
        let history = MemHistory::with_config(&config);
        let editor = Editor::with_history(config, history);
        Ok(Self::Person(Box::new(editor.or_failed()?)))
    }

    /// Whether a person types.
    pub(crate) fn is_person(&self) -> bool {
        matches!(self, Self::Person(_))
    }

    /// The next turn; `None` at the end of input. On a terminal `prompt` stands before it.
    ///
    /// # Errors
    /// Exit code 1 if standard input cannot be read, 3 if it is not UTF-8, 130 at the second Ctrl-C in a row.
    pub(crate) fn next(&mut self, prompt: &str) -> Result<Option<String>, StageError> {
        let (mut turn, mut interrupted) = (Draft::default(), false);
        loop {
            let text = match self.line(if turn.is_empty() { prompt } else { "... " })? {
                Line::Text(text) => text,
                Line::End => return Ok(turn.end()),
                Line::Interrupted if interrupted && turn.is_empty() => {
                    return Err(StageError::new(Exit::Interrupted, "interrupted"));
                }
                Line::Interrupted => {
                    // What was begun is thrown away, as in a shell.
                    (turn, interrupted) = (Draft::default(), true);
                    crate::say(crate::stop::HINT);
                    continue;
                }
            };
            interrupted = false;
            if let Some(turn) = turn.push(&text) {
                self.remember(&turn);
                return Ok(Some(turn));
            }
        }
    }

    fn line(&mut self, prompt: &str) -> Result<Line, StageError> {
        match self {
            Self::Person(editor) => match editor.readline(prompt) {
                Ok(line) => Ok(Line::Text(line)),
                Err(ReadlineError::Eof) => Ok(Line::End),
                Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
                Err(e) => Err(StageError::failed(e)),
            },
            Self::Pipe => {
                let mut bytes = Vec::new();
                let read = io::stdin().lock().read_until(b'\n', &mut bytes);
                if read.or_failed()? == 0 {
                    return Ok(Line::End);
                }
                let line = String::from_utf8(bytes).map_err(|e| {
                    StageError::bad_data(format!("a line of standard input is not UTF-8: {e}"))
                })?;
                Ok(Line::Text(line))
            }
        }
    }

    fn remember(&mut self, turn: &str) {
        if let Self::Person(editor) = self {
            // Without its history the editor still edits.
            let _ = editor.add_history_entry(turn);
        }
    }
}

/// A turn in the making.
#[derive(Debug, Default, PartialEq, Eq)]
struct Draft {
    lines: Vec<String>,
    fenced: bool,
}

impl Draft {
    fn is_empty(&self) -> bool {
        self.lines.is_empty() && !self.fenced
    }

    /// Takes a line; the whole turn, if it ends with it. A backslash at the end of a line, and `"""` before and after
    /// them, keep lines together.
    fn push(&mut self, line: &str) -> Option<String> {
        let line = line.trim_end_matches(['\n', '\r']);
        if self.fenced {
            if let Some(last) = line.trim_end().strip_suffix(FENCE) {
                self.keep(last);
                return self.end();
            }
            self.lines.push(line.to_owned());
            return None;
        }
        if let Some(first) = line
            .trim_start()
            .strip_prefix(FENCE)
            .filter(|_| self.is_empty())
        {
            if let Some(whole) = first.trim_end().strip_suffix(FENCE) {
                return Some(whole.to_owned());
            }
            self.fenced = true;
            self.keep(first);
            return None;
        }
        if let Some(begun) = line.strip_suffix('\\') {
            self.lines.push(begun.to_owned());
            return None;
        }
        self.lines.push(line.to_owned());
        self.end()
    }

    /// What stands beside a fence; nothing is no line.
    fn keep(&mut self, line: &str) {
        if !line.is_empty() {
            self.lines.push(line.to_owned());
        }
    }

    /// What there is of it.
    fn end(&mut self) -> Option<String> {
        let whole = std::mem::take(self);
        (!whole.is_empty()).then(|| whole.lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(lines: &[&str]) -> Vec<String> {
        let mut draft = Draft::default();
        let mut turns: Vec<String> = lines.iter().filter_map(|line| draft.push(line)).collect();
        turns.extend(draft.end());
        turns
    }

    #[test]
    fn lines_are_turns() {
        assert_eq!(turns(&["a\n", "\r\n", "b"]), ["a", "", "b"]);
    }

    #[test]
    fn a_backslash_goes_on() {
        assert_eq!(turns(&["a\\\n", "b \\\n", "c\n", "d"]), ["a\nb \nc", "d"]);
        assert_eq!(turns(&["a\\"]), ["a"]);
    }

    #[test]
    fn fences_keep_lines_together() {
        assert_eq!(
            turns(&["\"\"\"", "a", "", "b\\", "\"\"\"", "c"]),
            ["a\n\nb\\", "c"]
        );
        assert_eq!(turns(&["\"\"\"a", "b\"\"\""]), ["a\nb"]);
        assert_eq!(turns(&["\"\"\"a\"\"\""]), ["a"]);
        assert_eq!(turns(&["\"\"\"", "a"]), ["a"]);
        assert_eq!(turns(&["x \"\"\"", "y"]), ["x \"\"\"", "y"]);
    }
}
