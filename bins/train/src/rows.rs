//! From a file of rows to token ids with labels, counting whatever is shortened or left out.

use std::path::Path;

use chat_prompt::{
    Cut, Message, OverflowPolicy, PromptError, Prompter, Role, RowOutcome, user_turn,
};
use dolly_data::{Row, Turn, load_rows};
use lora::Sample;
use serde::Serialize;
use stage::{OrExit, StageError};

use crate::args::Args;
use crate::choices::OnTruncate;

/// What became of a file's rows.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RowCounts {
    /// Records in the file.
    pub read: usize,
    /// Records without instruction or response.
    pub blank: usize,
    /// Rows whose context was shortened.
    pub shortened: usize,
    /// Rows of which the end was cut off.
    pub cut: usize,
    /// Rows that do not fit and were left out.
    pub too_long: usize,
    /// Rows used.
    pub used: usize,
    /// Tokens in the rows used.
    pub tokens: usize,
    /// Tokens that count in the loss.
    pub supervised_tokens: usize,
}

/// Rows ready for the trainer.
pub(crate) struct Encoded {
    pub(crate) samples: Vec<Sample>,
    /// Which of the file's rows they are, blank ones not counted.
    pub(crate) places: Vec<usize>,
    pub(crate) counts: RowCounts,
}

/// Reads and encodes a file. `context` is the most tokens the model can take.
pub(crate) fn encode_file(
    path: &Path,
    prompter: &Prompter,
    args: &Args,
    context: usize,
) -> Result<Encoded, StageError> {
    let loaded = load_rows(path).or_bad_data()?;
    let mut encoded = Encoded {
        samples: Vec::with_capacity(loaded.rows.len()),
        places: Vec::with_capacity(loaded.rows.len()),
        counts: RowCounts {
            read: loaded.rows.len() + loaded.dropped.len(),
            blank: loaded.dropped.len(),
            ..RowCounts::default()
        },
    };
    let limit = args.max_seq_len.min(context);
    for (at, row) in loaded.rows.iter().enumerate() {
        let sample = if args.compat.is_some() {
            original_row(row, prompter, limit, &mut encoded.counts)
        } else {
            our_row(row, prompter, limit, args.on_truncate, &mut encoded.counts)
        };
        let place = || format!("{}: row {}", path.display(), row.id);
        let sample = sample.map_err(|e| StageError::bad_data(e).context(place()))?;
        if let Some(sample) = sample {
            encoded.samples.push(sample);
            encoded.places.push(at);
        }
    }
    if encoded.samples.is_empty() {
        return Err(StageError::bad_data(format!(
            "{}: none of {} rows fits into {limit} tokens; raise --max_seq_len",
            path.display(),
            loaded.rows.len()
        )));
    }
    let Encoded {
        samples, counts, ..
    } = &mut encoded;
    counts.used = samples.len();
    counts.tokens = samples.iter().map(|s| s.ids.len()).sum();
    counts.supervised_tokens = samples.iter().map(|s| s.labels.len()).sum();
    Ok(encoded)
}

fn our_row(
    row: &Row,
    prompter: &Prompter,
    limit: usize,
    policy: OnTruncate,
    counts: &mut RowCounts,
) -> Result<Option<Sample>, PromptError> {
    let policy = match policy {
        OnTruncate::Context => OverflowPolicy::Context,
        OnTruncate::Drop => OverflowPolicy::Drop,
        OnTruncate::KeepStart => OverflowPolicy::KeepStart,
        OnTruncate::Error => OverflowPolicy::Error,
    };
    let outcome = if row.messages.is_empty() {
        let context = row.context.as_deref();
        prompter.training_row(&row.instruction, context, &row.response, limit, policy)?
    } else {
        let message = |turn: &Turn| Message::new(Role::new(&turn.role), &turn.content);
        let messages: Vec<Message> = row.messages.iter().map(message).collect();
        prompter.training_conversation(&messages, limit, policy)?
    };
    match outcome {
        RowOutcome::Kept(row) => {
            match row.truncated.as_ref().map(|truncated| truncated.cut) {
                Some(Cut::Context | Cut::Turns) => counts.shortened += 1,
                Some(Cut::End) => counts.cut += 1,
                None => {}
            }
            Ok(Some(Sample::from(&row)))
        }
        RowOutcome::Dropped { .. } => {
            counts.too_long += 1;
            Ok(None)
        }
    }
}

/// The original's row: the response stands after an assistant's turn that is empty and closed, every
/// token is a label but the end-of-turn token (which doubles as padding), and the end is cut off.
fn original_row(
    row: &Row,
    prompter: &Prompter,
    limit: usize,
    counts: &mut RowCounts,
) -> Result<Option<Sample>, PromptError> {
    let turns = [
        Message::user(user_turn(&row.instruction, row.context.as_deref())),
        Message::assistant(""),
    ];
    let text = prompter.render(&turns, false)? + &row.response;
    let mut ids = prompter.encode_rendered(&text)?;
    counts.cut += usize::from(ids.len() > limit);
    ids.truncate(limit);
    let padding = prompter.end_of_turn()?;
    let labels: Vec<usize> = (1..ids.len()).filter(|&i| ids[i] != padding).collect();
    if labels.is_empty() {
        counts.too_long += 1;
        return Ok(None);
    }
    Ok(Some(Sample { ids, labels }))
}
