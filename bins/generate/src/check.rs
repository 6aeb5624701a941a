//! Proof that an answer does not depend on the rows that it was generated with.

use std::ops::ControlFlow;

use loader::Loaded;
use smollm_model::GenerationConfig;
use stage::{OrExit, Progress, StageError, interrupt};

use crate::answers::Answers;
use crate::args::Args;
use crate::prompts::{Prompt, Question};
use crate::{record, settings};

/// Answers `--check_batch` rows once more, spread over all rows and each alone, and compares whole records.
///
/// # Errors
/// Exit code 1 if an answer differs, 130 after Ctrl-C.
pub(crate) fn alone(
    args: &Args,
    loaded: &Loaded,
    (questions, prompts): (&[Question], &[Prompt]),
    answers: &Answers,
) -> Result<(), StageError> {
    let count = args.check_batch.min(questions.len());
    if count == 0 {
        return Ok(());
    }
    let progress = Progress::new("checking", count as u64);
    for at in (0..count).map(|i| i * questions.len() / count) {
        let config = GenerationConfig {
            streams: vec![questions[at].stream()],
            ..settings(args, loaded)
        };
        let ids = std::slice::from_ref(&prompts[at].ids);
        let found = smollm_model::generate(&loaded.model, ids, &config, &mut |_| {
            if interrupt::requested() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        let Some(answer) = found.or_bad_data()?.pop() else {
            return Err(StageError::interrupted("interrupted; every answer is kept"));
        };
        let again = record(loaded, &questions[at], &prompts[at], &answer)?;
        if answers.get(at) != Some(&again) {
            let id = &questions[at].row.id;
            return Err(StageError::failed(format!(
                "the row with id {id} is answered otherwise alone than in a batch: {:?} instead of {:?}; \
                 this is a defect of smoltune or of this machine",
                again.prediction,
                answers.get(at).map_or("", |kept| &kept.prediction)
            )));
        }
        progress.inc(1);
    }
    progress.finish();
    Ok(())
}
