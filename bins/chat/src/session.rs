//! Turns and what they do.

use std::collections::HashSet;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use serde_json::json;
use smollm_model::Decoder;
use stage::StageError;

use crate::beside::Beside;
use crate::conversation::Conversation;
use crate::speak::{Said, Spoken};
use crate::turn::{HELP, Turn};
use crate::voices::{Voice, Voices};
use crate::{say, write_out};

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Turn,
    End,
}

/// A conversation and what belongs to it.
pub(crate) struct Session<'v, D: Decoder> {
    conversation: Conversation<'v, D>,
    voices: &'v Voices,
    /// Files that this session wrote, and may write again.
    saved: HashSet<PathBuf>,
}

impl<'v, D: Decoder> Session<'v, D> {
    pub(crate) fn new(conversation: Conversation<'v, D>, voices: &'v Voices) -> Self {
        Self {
            conversation,
            voices,
            saved: HashSet::new(),
        }
    }

    /// What stands before the user's line: who answers, where there is a choice.
    pub(crate) fn prompt(&self) -> String {
        if self.voices.all.len() == 1 {
            return "> ".to_owned();
        }
        format!("{}> ", self.conversation.voice().name)
    }

    /// Does what a turn asks for.
    ///
    /// # Errors
    /// Exit code 1 if the model fails or standard output cannot be written.
    pub(crate) fn take(&mut self, turn: &Turn<'_>) -> Result<Next, StageError> {
        match *turn {
            Turn::Nothing => {}
            Turn::Exit => return Ok(Next::End),
            Turn::Help => say(HELP),
            Turn::Reset => {
                self.conversation.reset();
                say("(forgotten)");
            }
            Turn::System(text) => {
                self.conversation.set_system(text);
                say("(new conversation)");
            }
            Turn::Adapter("") => say(&self.adapters()),
            Turn::Adapter(name) => self.call(name),
            Turn::Base => {
                let base = &self.voices.all[0].name;
                self.call(base);
            }
            Turn::Temperature(text) => self.temperature(text),
            Turn::Save(file) => self.save(file),
            Turn::Unknown(command) => say(&format!("no such command: {command}; /help shows them")),
            Turn::Compare(text) => return self.compare(text),
            Turn::Say(text) => return self.reply(text),
        }
        Ok(Next::Turn)
    }

    fn reply(&mut self, text: &str) -> Result<Next, StageError> {
        let spoken = self.conversation.reply(text, &mut |_, said| match said {
            Said::Piece(piece) => write_out(piece),
            Said::End => write_out("\n"),
        })?;
        Ok(next(spoken.as_ref()))
    }

    fn compare(&mut self, text: &str) -> Result<Next, StageError> {
        let Some(other) = self.other() else {
            say("(no adapter is loaded; start with --adapter DIR)");
            return Ok(Next::Turn);
        };
        if text.is_empty() && self.conversation.is_empty() {
            say("(nothing was asked yet; /compare QUESTION)");
            return Ok(Next::Turn);
        }
        let pair = [&self.voices.all[0], other];
        let mut both = Beside::new(pair.map(|voice| voice.name.clone()), terminal_width());
        if !write_out(&both.head())? {
            return Ok(Next::End);
        }
        let spoken = self.conversation.compare(text, pair, &mut |who, said| {
            let shown = match said {
                Said::Piece(piece) => both.push(who, piece),
                Said::End => both.end(who),
            };
            write_out(&shown)
        })?;
        Ok(next(spoken.as_ref()))
    }

    /// The adapter that the base is compared with: the current one, else the first.
    fn other(&self) -> Option<&'v Voice> {
        let current = self.conversation.voice();
        Some(current)
            .filter(|voice| voice.adapter.is_some())
            .or(self.voices.all.get(1))
    }

    fn adapters(&self) -> String {
        let current = &self.conversation.voice().name;
        let line = |voice: &Voice| {
            let mark = if voice.name == *current { '*' } else { ' ' };
            format!("{mark} {}", voice.name)
        };
        let lines: Vec<String> = self.voices.all.iter().map(line).collect();
        lines.join("\n")
    }

    fn call(&mut self, name: &str) {
        if self.conversation.call(name) {
            say(&format!("({name} answers)"));
        } else {
            say(&format!(
                "no adapter {name:?}; there are:\n{}",
                self.adapters()
            ));
        }
    }

    fn temperature(&mut self, text: &str) {
        if !text.is_empty() {
            let number = text.parse().map_err(|_| format!("{text:?} is no number"));
            if let Err(problem) = number.and_then(|t| self.conversation.set_temperature(t)) {
                return say(&problem);
            }
        }
        say(&format!(
            "(temperature {})",
            self.conversation.temperature()
        ));
    }

    fn save(&mut self, file: &str) {
        let said = match self.conversation.messages() {
            _ if file.is_empty() => "/save needs a file's name".to_owned(),
            None => "(nothing was said yet)".to_owned(),
            Some(messages) => {
                let line = format!("{}\n", json!({"messages": messages}));
                self.write(Path::new(file), &line)
            }
        };
        say(&said);
    }

    /// Writes `line` as the whole of `path`; what came of it, in words.
    fn write(&mut self, path: &Path, line: &str) -> String {
        if path.exists() && !self.saved.contains(path) {
            return format!("{} is there already; choose another name", path.display());
        }
        if let Err(problem) = stage::write_text(path, line) {
            return problem.to_string();
        }
        self.saved.insert(path.to_path_buf());
        format!("(saved in {})", path.display())
    }
}

/// What follows an answer: `None` is a question that was too long.
fn next(spoken: Option<&Spoken>) -> Next {
    let Some(spoken) = spoken else {
        say("(too long for this model; say it in fewer words)");
        return Next::Turn;
    };
    if spoken.stopped {
        say("(stopped)");
    }
    if spoken.closed { Next::End } else { Next::Turn }
}

/// Cells of the terminal that standard output is, if it is one.
fn terminal_width() -> Option<usize> {
    let size = terminal_size::terminal_size_of(std::io::stdout());
    let is_terminal = std::io::stdout().is_terminal();
    size.filter(|_| is_terminal)
        .map(|(width, _)| usize::from(width.0))
}
