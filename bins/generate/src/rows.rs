//! Rows as prompts, each with a key that tells it from other rows.

use std::path::Path;

use chat_prompt::{Message, PromptPolicy, Prompter, Role};
use dolly_data::{Row, Turn};
use loader::Opened;
use stage::{OrExit, StageError};

use crate::args::Args;

/// A row that is to be answered.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) row: Row,
    /// Hash of the row's content; the same for repeated rows.
    pub(crate) key: String,
}

impl Question {
    /// The name of its draws: the key, which is 16 hexadecimal digits.
    pub(crate) fn stream(&self) -> u64 {
        u64::from_str_radix(&self.key, 16).unwrap_or(0)
    }
}

/// Its prompt.
#[derive(Debug, Clone)]
pub(crate) struct Prompt {
    pub(crate) ids: Vec<u32>,
    pub(crate) truncated: bool,
}

/// Reads the rows of `path`; also returns how many were dropped because a field is blank.
pub(crate) fn questions(path: &Path) -> Result<(Vec<Question>, usize), StageError> {
    let loaded = dolly_data::load_rows(path).or_bad_data()?;
    let dropped = loaded.dropped.len();
    let question = |row: Row| {
        let key = row.key();
        Question { row, key }
    };
    Ok((loaded.rows.into_iter().map(question).collect(), dropped))
}

/// The prompts of all rows.
pub(crate) fn prompts(
    questions: &[Question],
    opened: &Opened,
    args: &Args,
) -> Result<Vec<Prompt>, StageError> {
    let positions = opened.config().max_position_embeddings;
    let one = |question| prompt(question, opened.prompter(), args, positions);
    questions.iter().map(one).collect()
}

/// The prompt of a row, shortened to leave the model room for an answer.
fn prompt(
    question: &Question,
    prompter: &Prompter,
    args: &Args,
    positions: usize,
) -> Result<Prompt, StageError> {
    // Of a model with few positions, an answer gets at most half.
    let room = positions
        .saturating_sub(args.max_new_tokens)
        .max(positions / 2);
    let limit = args.max_prompt_len.min(room);
    let policy = if args.as_original() {
        PromptPolicy::CutEnd
    } else {
        PromptPolicy::Context
    };
    let row = &question.row;
    let prompt = if let Some((_, asked)) = row.messages.split_last() {
        let messages: Vec<Message> = asked.iter().map(message).collect();
        prompter.conversation_prompt(&messages, Some(limit))
    } else {
        let context = row.context.as_deref();
        prompter.generation_prompt_with(&row.instruction, context, Some(limit), policy)
    };
    prompt
        .map(|prompt| Prompt {
            truncated: prompt.truncated.is_some(),
            ids: prompt.ids,
        })
        .or_bad_data()
        .map_err(|e| {
            e.context(format!(
                "{}, row with id {}",
                args.test_csv.display(),
                row.id
            ))
        })
}

fn message(turn: &Turn) -> Message {
    Message::new(Role::new(&turn.role), &turn.content)
}
