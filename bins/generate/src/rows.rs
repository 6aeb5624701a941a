//! Rows of a data file as questions.

use std::path::Path;
use std::sync::Arc;

use chat_prompt::{Message, PromptPolicy, Prompter, Role};
use dolly_data::{Row, Turn};
use smollm_model::Request;
use stage::{OrExit, StageError};

use crate::answers::Asked;
use crate::args::Args;
use crate::record::Prediction;
use crate::sheet::Sheet;
use crate::task::{Answer, Task};
use crate::variants::Variant;

/// A row that is to be answered.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) row: Row,
    /// Hash of the row's content; the same for repeated rows.
    pub(crate) key: String,
}

impl Question {
    /// The name of its draws: the key, which is 16 hexadecimal digits.
    fn stream(&self) -> u64 {
        u64::from_str_radix(&self.key, 16).unwrap_or(0)
    }

    /// As the output file knows it.
    pub(crate) fn asked(&self) -> Asked<'_> {
        Asked {
            key: &self.key,
            name: &self.row.id,
        }
    }
}

/// Its prompt.
#[derive(Debug, Clone, Default)]
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

/// Rows for one variant of the model.
pub(crate) struct Rows<'a> {
    args: &'a Args,
    variant: &'a Variant,
    questions: &'a [Question],
    /// The prompts, or why there is none.
    prompts: Vec<Result<Prompt, String>>,
    stop_ids: Arc<[u32]>,
    stop: Arc<[String]>,
}

impl<'a> Rows<'a> {
    /// Makes the prompts of `questions`.
    ///
    /// # Errors
    /// Exit code 3 if no row can be answered: then it is not the rows that are wrong.
    pub(crate) fn new(
        args: &'a Args,
        variant: &'a Variant,
        questions: &'a [Question],
    ) -> Result<Self, StageError> {
        let config = variant.opened.config();
        let prompter = variant.opened.prompter();
        let positions = config.max_position_embeddings;
        let prompts: Vec<_> = questions
            .iter()
            .map(|question| prompt(question, prompter, args, positions))
            .collect();
        if let (Some(question), Some(Err(reason)), true) = (
            questions.first(),
            prompts.first(),
            prompts.iter().all(Result::is_err),
        ) {
            let (file, id) = (args.test_csv.display(), &question.row.id);
            return Err(StageError::bad_data(format!(
                "{file}, row with id {id}: {reason}"
            )));
        }
        let stop_ids = loader::stop_ids(prompter, config, args.as_original());
        Ok(Self {
            args,
            variant,
            questions,
            prompts,
            stop_ids: stop_ids.into(),
            stop: args.stop.as_slice().into(),
        })
    }
}

impl Sheet for Rows<'_> {
    type Record = Prediction;

    fn task(&self, position: usize) -> Result<Task<'_>, Box<Prediction>> {
        let question = &self.questions[position];
        let prompt = match &self.prompts[position] {
            Ok(prompt) => prompt,
            Err(reason) => return Err(Box::new(Prediction::refused(question, reason))),
        };
        Ok(Task {
            prompter: self.variant.opened.prompter(),
            request: Request {
                prompt: prompt.ids.clone(),
                adapter: self.variant.adapter,
                max_new_tokens: self.args.max_new_tokens,
                stop_ids: Arc::clone(&self.stop_ids),
                sampling: self.args.sampling(question.stream()),
                top_logprobs: 0,
            },
            stop: Arc::clone(&self.stop),
            candidates: self.args.best_of,
            logprobs: self.args.logprobs,
        })
    }

    fn record(&self, position: usize, answers: Vec<Answer>) -> Result<Prediction, StageError> {
        let question = &self.questions[position];
        let (Some(answer), Ok(prompt)) = (Answer::best(answers), &self.prompts[position]) else {
            return Ok(Prediction::refused(question, "no answer was generated"));
        };
        let prompter = self.variant.opened.prompter();
        Prediction::new(question, prompt, &answer, prompter)
    }
}

/// The prompt of a row, shortened to leave the model room for an answer; or why there is none.
fn prompt(
    question: &Question,
    prompter: &Prompter,
    args: &Args,
    positions: usize,
) -> Result<Prompt, String> {
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
    let prompt = prompt.map_err(|e| e.to_string())?;
    Ok(Prompt {
        truncated: prompt.truncated.is_some(),
        ids: prompt.ids,
    })
}

fn message(turn: &Turn) -> Message {
    Message::new(Role::new(&turn.role), &turn.content)
}
