//! Training rows: ids with the ranges that are learnt.
//!
//! The ranges are by position. A mask made from ids cannot be right: the token that ends the answer
//! also ends every other turn, and pads batches.

use std::fmt;
use std::ops::Range;

use serde::Serialize;

use crate::conversation::Encoded;
use crate::error::{PromptError, Result, start_of};
use crate::message::{Message, user_turn};
use crate::prompt::{Cut, Fitted, Truncated};
use crate::prompter::Prompter;
use crate::tokenizer::Piece;

/// What is done with a training row that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OverflowPolicy {
    /// Shorten the context; drop the row where instruction and response alone do not fit.
    #[default]
    Context,
    /// Drop the row.
    Drop,
    /// Keep the first `max_seq_len` ids, as the original program does.
    KeepStart,
    /// Fail.
    Error,
}

/// One row to train on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainingRow {
    /// Prompt, response, end of turn; of a conversation, all its turns.
    pub ids: Vec<u32>,
    /// Positions in `ids` that are labels, ascending: each response with its end of turn. Position
    /// `i` is predicted from the hidden state at `i - 1`, so no range starts at 0. Never empty.
    pub supervised: Vec<Range<usize>>,
    /// What was cut to make it fit, if anything.
    pub truncated: Option<Truncated>,
    /// The row before that.
    pub whole: WholeRow,
}

/// A row before a limit is applied to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WholeRow {
    /// Its tokens.
    pub tokens: usize,
    /// Control strings in what its messages say. They are encoded as text, never as control ids.
    pub control_strings: usize,
    /// Characters that encoding drops or replaces, because the vocabulary lacks one of their bytes;
    /// see [`ChatTokenizer::count_unencodable`](crate::ChatTokenizer::count_unencodable).
    pub unencodable: usize,
}

impl TrainingRow {
    /// Every supervised position, ascending.
    pub fn labels(&self) -> impl Iterator<Item = usize> + '_ {
        self.supervised.iter().cloned().flatten()
    }

    /// Tokens in front of the first supervised one.
    pub fn prompt_len(&self) -> usize {
        self.supervised.first().map_or(0, |range| range.start)
    }
}

/// A row, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowOutcome {
    /// The row is used.
    Kept(TrainingRow),
    /// The row is left out, and the caller counts it.
    Dropped {
        /// Why.
        reason: DropReason,
        /// The row.
        whole: WholeRow,
    },
}

/// Why a row is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum DropReason {
    /// It is too long, even after what the policy allows to be cut.
    TooLong {
        /// Tokens it still has.
        needed: usize,
        /// The limit.
        limit: usize,
    },
    /// After cutting there is no supervised token left.
    NothingSupervised {
        /// Tokens of the prompt.
        prompt: usize,
        /// The limit.
        limit: usize,
    },
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { needed, limit } => {
                write!(f, "{needed} tokens, more than the limit of {limit}")
            }
            Self::NothingSupervised { prompt, limit } => write!(
                f,
                "the prompt takes {prompt} tokens, so nothing of the response is left within {limit}"
            ),
        }
    }
}

impl Prompter {
    /// The ids of one row and the range to learn: prompt, then response and end of turn. The
    /// newline that the template writes after the end of turn is left out: nothing is predicted
    /// from it.
    ///
    /// # Errors
    /// As [`Prompter::training_conversation`].
    pub fn training_row(
        &self,
        instruction: &str,
        context: Option<&str>,
        response: &str,
        max_seq_len: usize,
        policy: OverflowPolicy,
    ) -> Result<RowOutcome> {
        let turns = |context: Option<&str>| {
            [
                Message::user(user_turn(instruction, context)),
                Message::assistant(response),
            ]
        };
        let row = self.conversation(&turns(context))?;
        let needed = row.ids.len();
        if needed <= max_seq_len || policy != OverflowPolicy::Context {
            return self.fit(row, max_seq_len, policy, instruction);
        }
        let prompt_len = row.supervised.first().map_or(0, |range| range.start);
        let answer = needed - prompt_len;
        let room = max_seq_len.saturating_sub(answer);
        match self.shorten_context(instruction, context, prompt_len, room)? {
            Fitted::No { needed } => Ok(too_long(row.whole, needed + answer, max_seq_len)),
            Fitted::Yes {
                kept,
                mut truncated,
                ..
            } => {
                let shorter = self.conversation(&turns(Some(&kept)))?;
                let whole = row.whole;
                truncated.ids_before += answer;
                truncated.ids_after += answer;
                Ok(kept_row(Encoded { whole, ..shorter }, Some(truncated)))
            }
        }
    }

    /// The ids of a whole conversation and the ranges to learn: each assistant's turn and its end of
    /// turn. There is no context that could be shortened: under [`OverflowPolicy::Context`] a
    /// conversation that is too long is dropped.
    ///
    /// Every row is proven right: the prompt that the model is given before each assistant's turn
    /// must be the start of the row, as text and as ids, and the end of each such turn must be the
    /// control token that stops generation.
    ///
    /// # Errors
    /// [`PromptError::NotAPrefix`], [`PromptError::PromptMerges`], [`PromptError::EndOfTurn`] or
    /// [`PromptError::NothingSupervised`] where that does not hold, [`PromptError::RowTooLong`] under
    /// [`OverflowPolicy::Error`], and whatever the template or the tokenizer reports.
    pub fn training_conversation(
        &self,
        messages: &[Message],
        max_seq_len: usize,
        policy: OverflowPolicy,
    ) -> Result<RowOutcome> {
        let row = self.conversation(messages)?;
        let start = messages.first().map_or("", |m| &m.content);
        self.fit(row, max_seq_len, policy, start)
    }

    fn fit(
        &self,
        row: Encoded,
        limit: usize,
        policy: OverflowPolicy,
        start: &str,
    ) -> Result<RowOutcome> {
        let needed = row.ids.len();
        if needed <= limit {
            return Ok(kept_row(row, None));
        }
        match policy {
            OverflowPolicy::KeepStart => self.keep_start(row, limit),
            OverflowPolicy::Context | OverflowPolicy::Drop => {
                Ok(too_long(row.whole, needed, limit))
            }
            OverflowPolicy::Error => Err(PromptError::RowTooLong {
                needed,
                limit,
                start: start_of(start),
            }),
        }
    }

    /// Cuts at the right, and drops the row where that leaves no label.
    fn keep_start(&self, mut row: Encoded, limit: usize) -> Result<RowOutcome> {
        let ids_before = row.ids.len();
        let prompt = row.supervised.first().map_or(0, |range| range.start);
        if limit <= prompt.max(1) {
            let reason = DropReason::NothingSupervised { prompt, limit };
            let whole = row.whole;
            return Ok(RowOutcome::Dropped { reason, whole });
        }
        let removed = self.decode(&row.ids.split_off(limit), false)?;
        row.supervised.retain(|range| range.start < limit);
        if let Some(last) = row.supervised.last_mut() {
            last.end = last.end.min(limit);
        }
        let truncated = Truncated {
            cut: Cut::End,
            ids_before,
            ids_after: limit,
            removed,
        };
        Ok(kept_row(row, Some(truncated)))
    }

    /// The control token with which the template closes an assistant's turn.
    ///
    /// # Errors
    /// [`PromptError::NoEndOfTurn`] if it uses none, or whatever rendering reports.
    pub fn end_of_turn(&self) -> Result<u32> {
        if let Some(&id) = self.end_of_turn.get() {
            return Ok(id);
        }
        let id = self.find_end_of_turn()?;
        Ok(*self.end_of_turn.get_or_init(|| id))
    }

    fn find_end_of_turn(&self) -> Result<u32> {
        let user = Message::user("a");
        let prompt = self.render(std::slice::from_ref(&user), true)?;
        let whole = self.render(&[user, Message::assistant("b")], false)?;
        let after = whole.strip_prefix(&format!("{prompt}b")).unwrap_or(&whole);
        match self.tokenizer().split_at_controls(after)?[..] {
            [Piece::Text(""), Piece::Control(id), ..] => Ok(id),
            _ => Err(PromptError::NoEndOfTurn {
                found: after.to_owned(),
            }),
        }
    }
}

fn too_long(whole: WholeRow, needed: usize, limit: usize) -> RowOutcome {
    let reason = DropReason::TooLong { needed, limit };
    RowOutcome::Dropped { reason, whole }
}

fn kept_row(row: Encoded, truncated: Option<Truncated>) -> RowOutcome {
    RowOutcome::Kept(TrainingRow {
        ids: row.ids,
        supervised: row.supervised,
        truncated,
        whole: row.whole,
    })
}
