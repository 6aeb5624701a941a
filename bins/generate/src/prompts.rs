//! Rows as prompts, each with a key that tells it from other rows.

use std::path::Path;

use chat_prompt::{PromptPolicy, Prompter};
use dolly_data::Row;
use loader::Opened;
use stage::{OrExit, StageError};

use crate::args::Args;

/// A row that is to be answered.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) row: Row,
    /// Hash of everything that the answer and its record depend on; the same for repeated rows.
    pub(crate) key: String,
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
        let key = key(&row);
        Question { row, key }
    };
    Ok((loaded.rows.into_iter().map(question).collect(), dropped))
}

fn key(row: &Row) -> String {
    let fields = [
        row.id.as_str(),
        &row.instruction,
        row.context.as_deref().unwrap_or_default(),
        &row.response,
    ];
    // Lengths in front keep the fields apart whatever they hold.
    let text = fields
        .map(|field| format!("{}:{field}", field.len()))
        .concat();
    stage::sha256_bytes(text.as_bytes())
        .chars()
        .take(16)
        .collect()
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
    let context = row.context.as_deref();
    prompter
        .generation_prompt_with(&row.instruction, context, Some(limit), policy)
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
