//! Proof that an answer does not depend on what it was generated with.

use smollm_model::{Decoder, EngineLimits};
use stage::{Progress, StageError};

use crate::answers::Record as _;
use crate::sheet::{Job, Sheet};
use crate::work;

/// Answers `count` questions of each job once more, spread over all of them and each alone, and compares whole records.
///
/// # Errors
/// Exit code 1 if an answer differs, 130 after Ctrl-C.
pub(crate) fn alone<S: Sheet, D: Decoder>(
    jobs: &[Job<S>],
    count: usize,
    mut decoder: D,
) -> Result<(), StageError> {
    if count == 0 {
        return Ok(());
    }
    let number = |job: &Job<S>| count.min(job.asked);
    let progress = Progress::new("checking", jobs.iter().map(number).sum::<usize>() as u64);
    for job in jobs {
        for at in (0..number(job)).map(|i| i * job.asked / number(job)) {
            one(job, at, &mut decoder)?;
            progress.inc(1);
        }
    }
    progress.finish();
    Ok(())
}

fn one<S: Sheet, D: Decoder>(job: &Job<S>, at: usize, decoder: D) -> Result<(), StageError> {
    let Ok(task) = job.sheet.task(at) else {
        return Ok(());
    };
    let limits = EngineLimits {
        batch_size: 1,
        ..EngineLimits::default()
    };
    let mut again = None;
    let mut keep = |_, answers, _| {
        again = Some(job.sheet.record(at, answers)?);
        Ok(())
    };
    work::work(decoder, limits, std::iter::once(task), &mut keep)?;
    let Some(again) = again else {
        return Err(StageError::interrupted("interrupted; every answer is kept"));
    };
    if job.answers.get(at) == Some(&again) {
        return Ok(());
    }
    let shown = |record: &S::Record| serde_json::to_string(record).unwrap_or_default();
    Err(StageError::failed(format!(
        "the row with id {} is answered otherwise alone than in a batch: {} instead of {}; this is a defect of \
         smoltune or of this machine",
        again.name(),
        shown(&again),
        job.answers.get(at).map(shown).unwrap_or_default()
    )))
}
