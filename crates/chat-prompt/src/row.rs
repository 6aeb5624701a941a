//! Training rows: ids with the range that is learnt.
//!
//! The range is by position. A mask made from ids cannot be right: the token that ends the answer
//! also ends every other turn, and pads batches.

use std::fmt;
use std::ops::Range;

use crate::error::{PromptError, Result, start_of};
use crate::message::{Message, user_turn};
use crate::prompt::{Cut, Fitted, Truncated};
use crate::prompter::Prompter;
use crate::tokenizer::Piece;

/// What is done with a training row that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
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
    /// Prompt, response, end of turn.
    pub ids: Vec<u32>,
    /// Positions in `ids` that are labels: the response and its end of turn. Position `i` is
    /// predicted from the hidden state at `i - 1`, so the range never starts at 0.
    pub supervised: Range<usize>,
    /// What was cut to make it fit, if anything.
    pub truncated: Option<Truncated>,
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
    },
}

/// Why a row is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// A row before its length is looked at.
struct Whole {
    ids: Vec<u32>,
    prompt_len: usize,
}

impl Prompter {
    /// The ids of one row and the range to learn: prompt, then response and end of turn. The
    /// newline that the template writes after the end of turn is left out: nothing is predicted
    /// from it.
    ///
    /// The row is checked against the ids of the whole conversation, encoded in one piece: it must
    /// be their start, so that what is learnt is what the model will be asked for.
    ///
    /// # Errors
    /// [`PromptError::NotAPrefix`] where that does not hold, [`PromptError::RowTooLong`] under
    /// [`OverflowPolicy::Error`], and whatever the template or the tokenizer reports.
    pub fn training_row(
        &self,
        instruction: &str,
        context: Option<&str>,
        response: &str,
        max_seq_len: usize,
        policy: OverflowPolicy,
    ) -> Result<RowOutcome> {
        let tail = self.response_ids(response)?;
        let prompt = self.prompt_ids(instruction, context)?;
        let prompt_len = prompt.len();
        let needed = prompt_len + tail.len();
        if needed <= max_seq_len || policy == OverflowPolicy::KeepStart {
            let row = self.checked(instruction, context, response, prompt, &tail)?;
            return self.keep_start(row, max_seq_len);
        }
        let limit = max_seq_len;
        match policy {
            OverflowPolicy::Error => Err(PromptError::RowTooLong {
                needed,
                limit,
                start: start_of(instruction),
            }),
            OverflowPolicy::Drop | OverflowPolicy::KeepStart => Ok(too_long(needed, limit)),
            OverflowPolicy::Context => {
                let room = limit.saturating_sub(tail.len());
                match self.shorten_context(instruction, context, prompt_len, room)? {
                    Fitted::No { needed } => Ok(too_long(needed + tail.len(), limit)),
                    Fitted::Yes {
                        ids,
                        kept,
                        mut truncated,
                    } => {
                        let row = self.checked(instruction, Some(&kept), response, ids, &tail)?;
                        truncated.ids_before += tail.len();
                        truncated.ids_after += tail.len();
                        Ok(kept_row(row.ids, row.prompt_len, Some(truncated)))
                    }
                }
            }
        }
    }

    /// The response as plain text, and the token that ends the turn.
    fn response_ids(&self, response: &str) -> Result<Vec<u32>> {
        let mut ids = self.encode_plain(response)?;
        ids.push(self.end_of_turn()?);
        Ok(ids)
    }

    /// Joins prompt and response, and checks them against the whole conversation.
    fn checked(
        &self,
        instruction: &str,
        context: Option<&str>,
        response: &str,
        prompt: Vec<u32>,
        tail: &[u32],
    ) -> Result<Whole> {
        let turns = [
            Message::user(user_turn(instruction, context)),
            Message::assistant(response),
        ];
        let conversation = self.encode_chat(&turns, false)?;
        let prompt_len = prompt.len();
        let mut ids = prompt;
        ids.extend_from_slice(tail);
        if conversation.starts_with(&ids) {
            return Ok(Whole { ids, prompt_len });
        }
        let same = ids
            .iter()
            .zip(&conversation)
            .take_while(|(a, b)| a == b)
            .count();
        Err(PromptError::NotAPrefix {
            at: same,
            row: self.describe(ids.get(same)),
            conversation: self.describe(conversation.get(same)),
            start: start_of(instruction),
        })
    }

    fn describe(&self, id: Option<&u32>) -> String {
        let Some(&id) = id else {
            return "nothing more".to_owned();
        };
        let token = self.tokenizer().token(id);
        format!("id {id} ({:?})", token.unwrap_or_default())
    }

    /// Cuts at the right where the row is too long, and drops it where that leaves no label.
    fn keep_start(&self, row: Whole, limit: usize) -> Result<RowOutcome> {
        let Whole {
            mut ids,
            prompt_len,
        } = row;
        let ids_before = ids.len();
        if ids_before <= limit {
            return Ok(kept_row(ids, prompt_len, None));
        }
        if limit <= prompt_len.max(1) {
            let reason = DropReason::NothingSupervised {
                prompt: prompt_len,
                limit,
            };
            return Ok(RowOutcome::Dropped { reason });
        }
        let removed = self.decode(&ids.split_off(limit), false)?;
        let truncated = Truncated {
            cut: Cut::End,
            ids_before,
            ids_after: limit,
            removed,
        };
        Ok(kept_row(ids, prompt_len, Some(truncated)))
    }

    /// The control token with which the template closes an assistant's turn.
    ///
    /// # Errors
    /// [`PromptError::NoEndOfTurn`] if it uses none, or whatever rendering reports.
    pub fn end_of_turn(&self) -> Result<u32> {
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

fn too_long(needed: usize, limit: usize) -> RowOutcome {
    RowOutcome::Dropped {
        reason: DropReason::TooLong { needed, limit },
    }
}

fn kept_row(ids: Vec<u32>, prompt_len: usize, truncated: Option<Truncated>) -> RowOutcome {
    let supervised = prompt_len.max(1)..ids.len();
    RowOutcome::Kept(TrainingRow {
        ids,
        supervised,
        truncated,
    })
}
