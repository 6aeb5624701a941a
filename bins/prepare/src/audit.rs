//! The label mask of every row, proven before a second of training is spent.

use chat_prompt::{
    Audit, Message, OverflowPolicy, PromptError, Prompter, Role, RowOutcome, TrainingRow,
};
use dolly_data::{Row, Turn};
use loader::ModelSpec;
use rayon::prelude::*;
use stage::{OrExit, StageError};

use crate::args::Args;

/// Rows that one thread takes at a time.
const CHUNK: usize = 128;

/// What rows are encoded with.
pub(crate) struct Auditor {
    pub(crate) prompter: Prompter,
    /// The model, as manifests name it.
    pub(crate) model: String,
    limit: usize,
    policy: OverflowPolicy,
}

impl Auditor {
    /// For the model that the command line names, if it names one.
    pub(crate) fn new(args: &Args) -> Result<Option<Self>, StageError> {
        let Some(model) = &args.model else {
            return Ok(None);
        };
        let spec = ModelSpec {
            revision: args.revision.clone(),
            ..ModelSpec::new(model)
        };
        let system = args.system.clone().filter(|text| !text.is_empty());
        let opened = loader::open(&spec)?
            .with_system(system)
            .with_date(args.date);
        Ok(Some(Self {
            limit: args
                .max_seq_len
                .min(opened.config().max_position_embeddings),
            policy: args.on_truncate.into(),
            model: opened.description().to_owned(),
            prompter: opened.prompter().clone(),
        }))
    }

    /// Encodes every row as training does and counts what comes of it.
    pub(crate) fn audit(&self, part: &str, rows: &[Row]) -> Result<Audit, StageError> {
        let chunks: Vec<Result<Audit, StageError>> = rows
            .par_chunks(CHUNK)
            .map(|chunk| {
                let mut audit = Audit::new(&self.prompter, self.limit, self.policy);
                for row in chunk {
                    let outcome = self.encode(row).or_bad_data();
                    let outcome =
                        outcome.map_err(|e| e.context(format!("{part} row with id {}", row.id)))?;
                    audit.add(&row.id, &row.key(), &row.category, &outcome);
                }
                Ok(audit)
            })
            .collect();
        let mut whole = Audit::new(&self.prompter, self.limit, self.policy);
        for chunk in chunks {
            whole.merge(chunk?);
        }
        Ok(whole)
    }

    /// The first `n` rows that training would see.
    pub(crate) fn first(
        &self,
        rows: &[Row],
        n: usize,
    ) -> Result<Vec<(String, TrainingRow)>, StageError> {
        let mut kept = Vec::new();
        for row in rows {
            if kept.len() == n {
                break;
            }
            if let RowOutcome::Kept(encoded) = self.encode(row).or_bad_data()? {
                kept.push((row.id.clone(), encoded));
            }
        }
        Ok(kept)
    }

    fn encode(&self, row: &Row) -> Result<RowOutcome, PromptError> {
        let Self {
            prompter,
            limit,
            policy,
            ..
        } = self;
        if row.messages.is_empty() {
            let context = row.context.as_deref();
            return prompter.training_row(
                &row.instruction,
                context,
                &row.response,
                *limit,
                *policy,
            );
        }
        let message = |turn: &Turn| Message::new(Role::new(&turn.role), &turn.content);
        let messages: Vec<Message> = row.messages.iter().map(message).collect();
        prompter.training_conversation(&messages, *limit, *policy)
    }
}
