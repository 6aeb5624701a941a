//! A conversation as ids, with the ranges that an assistant says.
//!
//! The whole conversation is rendered once and encoded once. Where an assistant's turn stands in it
//! is proven, not computed: the prompt that the model is given at that point is rendered too, and
//! must be the start of the conversation, as text and as ids.

use std::ops::Range;

use crate::error::{PromptError, Result, start_of};
use crate::guard::Guard;
use crate::message::{Message, Role};
use crate::prompter::Prompter;
use crate::row::WholeRow;
use crate::tokenizer::Piece;

/// A conversation up to the end of its last assistant's turn.
pub(crate) struct Encoded {
    pub(crate) ids: Vec<u32>,
    /// For each assistant's turn: its content and its end of turn.
    pub(crate) supervised: Vec<Range<usize>>,
    pub(crate) whole: WholeRow,
}

/// Rendered text, and the bytes of it that are an assistant's content.
struct Rendered {
    text: String,
    said: Vec<Range<usize>>,
}

impl Prompter {
    /// Encodes a conversation. The newline that a template may write after the last end of turn is
    /// left out: nothing is predicted from it.
    pub(crate) fn conversation(&self, messages: &[Message]) -> Result<Encoded> {
        let (turns, guard) = self.guarded(messages)?;
        let Rendered { text, said } = self.render_proven(&turns, guard.as_ref())?;
        let start = || start_of(messages.first().map_or("", |m| &m.content));

        let (mut ids, mut supervised) = (Vec::new(), Vec::new());
        let mut said = said.into_iter().peekable();
        let (mut at, mut answering) = (0, false);
        for piece in self.tokenizer().split_at_controls(&text)? {
            match piece {
                Piece::Text(part) => {
                    let span = at..at + part.len();
                    at = span.end;
                    let own = said.next_if(|said| span.start <= said.start && said.end == span.end);
                    let first = ids.len();
                    ids.extend(self.encode_guarded(part, guard.as_ref())?);
                    if let Some(said) = own {
                        let header = &part[..said.start - span.start];
                        let header = self.encode_guarded(header, guard.as_ref())?;
                        self.check_prefix(&header, &ids[first..], start)?;
                        supervised.push(first + header.len()..ids.len());
                        answering = true;
                    }
                }
                Piece::Control(id) => {
                    at += self.control_len(id);
                    if let Some(answer) = supervised.last_mut().filter(|_| answering) {
                        self.check_end_of_turn(Some(id), start)?;
                        answer.end += 1;
                        answering = false;
                    }
                    ids.push(id);
                }
            }
        }
        if said.next().is_some() {
            return Err(PromptError::NothingSupervised { start: start() });
        }
        let whole = self.measure(messages, guard.is_some());
        self.finish(ids, supervised, whole, start)
    }

    /// Ends the row with its last end of turn.
    fn finish(
        &self,
        mut ids: Vec<u32>,
        mut supervised: Vec<Range<usize>>,
        mut whole: WholeRow,
        start: impl Fn() -> String,
    ) -> Result<Encoded> {
        // Nothing stands before the first token, so it cannot be predicted.
        if let Some(first) = supervised.first_mut() {
            first.start = first.start.max(1);
        }
        supervised.retain(|range| !range.is_empty());
        let Some(last) = supervised.last() else {
            return Err(PromptError::NothingSupervised { start: start() });
        };
        // What follows the last end of turn is no input of anything that is learnt.
        ids.truncate(last.end);
        self.check_end_of_turn(ids.last().copied(), start)?;
        whole.tokens = ids.len();
        Ok(Encoded {
            ids,
            supervised,
            whole,
        })
    }

    fn check_end_of_turn(&self, id: Option<u32>, start: impl Fn() -> String) -> Result<()> {
        if id == Some(self.end_of_turn()?) {
            return Ok(());
        }
        Err(PromptError::EndOfTurn {
            found: self.describe(id.as_ref()),
            start: start(),
        })
    }

    /// What is odd about the texts of messages.
    fn measure(&self, messages: &[Message], guarded: bool) -> WholeRow {
        let mut whole = WholeRow::default();
        for Message { content, .. } in messages {
            whole.unencodable += self.tokenizer().count_unencodable(content);
            if guarded {
                let controls = self.tokenizer().controls().values();
                let count = |control: &String| content.matches(control.as_str()).count();
                whole.control_strings += controls.map(count).sum::<usize>();
            }
        }
        whole
    }

    /// Renders the conversation, and the prompt of each assistant's turn, which must be its start
    /// and be followed by the turn's content.
    fn render_proven(&self, turns: &[Message], guard: Option<&Guard>) -> Result<Rendered> {
        let text = self.render(turns, false)?;
        let mut said = Vec::new();
        let answers = turns.iter().enumerate();
        for (at, answer) in answers.filter(|(_, turn)| turn.role == Role::ASSISTANT) {
            let prompt = self.render(&turns[..at], true)?;
            let follows = text.strip_prefix(&prompt);
            if follows.is_none_or(|rest| !rest.starts_with(&answer.content)) {
                let expected = prompt + &answer.content;
                let same = common_prefix(&expected, &text);
                let show = |text: &str| {
                    let text = start_of(&text[same..]);
                    guard.map_or(text.clone(), |guard| guard.restore(&text))
                };
                return Err(PromptError::NotAPrefix {
                    at: text[..same].chars().count(),
                    row: show(&expected),
                    conversation: show(&text),
                    start: start_of(turns.first().map_or("", |m| &m.content)),
                });
            }
            said.push(prompt.len()..prompt.len() + answer.content.len());
        }
        Ok(Rendered { text, said })
    }

    fn check_prefix(
        &self,
        prompt: &[u32],
        whole: &[u32],
        start: impl Fn() -> String,
    ) -> Result<()> {
        if whole.starts_with(prompt) {
            return Ok(());
        }
        let same = prompt.iter().zip(whole).take_while(|(a, b)| a == b).count();
        Err(PromptError::PromptMerges {
            prompt: self.describe(prompt.get(same)),
            row: self.describe(whole.get(same)),
            start: start(),
        })
    }

    fn control_len(&self, id: u32) -> usize {
        self.tokenizer().controls().get(&id).map_or(0, String::len)
    }

    fn describe(&self, id: Option<&u32>) -> String {
        let Some(&id) = id else {
            return "nothing more".to_owned();
        };
        let token = self.tokenizer().token(id);
        format!("id {id} ({:?})", token.unwrap_or_default())
    }
}

/// Bytes at the start that are the same, up to a character boundary of both.
fn common_prefix(a: &str, b: &str) -> usize {
    let same = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    (0..=same)
        .rev()
        .find(|&at| a.is_char_boundary(at) && b.is_char_boundary(at))
        .unwrap_or(0)
}
