//! Questions that are answered into one file, and the work on several of them.

use std::path::PathBuf;
use std::time::Instant;

use smollm_model::{Decoder, EngineLimits};
use stage::{Manifest, Progress, StageError};

use crate::answers::{Answers, Record};
use crate::resume;
use crate::task::{Answer, Task};
use crate::work::{self, Outcome};

/// Questions of one kind.
pub(crate) trait Sheet {
    /// What becomes of a question.
    type Record: Record + PartialEq;

    /// How to answer the question at `position`; or, where it cannot be, the record that says why.
    fn task(&self, position: usize) -> Result<Task<'_>, Box<Self::Record>>;

    /// The record of an answered question; `answers` has one for each candidate of its task.
    fn record(&self, position: usize, answers: Vec<Answer>) -> Result<Self::Record, StageError>;
}

/// A sheet with its output file.
pub(crate) struct Job<S: Sheet> {
    pub(crate) sheet: S,
    /// How many of the sheet's questions are to be answered now.
    pub(crate) asked: usize,
    pub(crate) answers: Answers<S::Record>,
    /// Answers that were there before.
    pub(crate) resumed: usize,
    pub(crate) manifest: Manifest,
    pub(crate) out_file: PathBuf,
}

impl<S: Sheet> Job<S> {
    /// Positions that are to be answered now, in order.
    pub(crate) fn missing(&self) -> impl Iterator<Item = usize> {
        let asked = self.asked;
        self.answers.missing().take_while(move |at| *at < asked)
    }

    /// Writes down what cannot be answered at all; how many that were.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn refuse(&mut self) -> Result<usize, StageError> {
        let missing: Vec<usize> = self.missing().collect();
        let mut refused = 0;
        for at in missing {
            if let Err(record) = self.sheet.task(at) {
                self.answers.add(at, *record)?;
                refused += 1;
            }
        }
        Ok(refused)
    }

    /// Writes the manifest that belongs to the finished file.
    pub(crate) fn close(self) -> Result<(), StageError> {
        let mut manifest = self
            .manifest
            .fact("complete", self.answers.missing().next().is_none())
            .fact("rows", self.answers.count());
        manifest.add_output(&self.out_file)?;
        manifest.write(&resume::manifest_path(&self.out_file))
    }
}

/// Answers what is missing in `jobs`; returns how many tokens that took, and how many seconds.
///
/// # Errors
/// Exit code 130 after Ctrl-C, 1 when writing fails; in either case finished answers are kept.
pub(crate) fn complete<S: Sheet, D: Decoder>(
    jobs: &mut [Job<S>],
    decoder: D,
    limits: EngineLimits,
) -> Result<(usize, f64), StageError> {
    let places = places(jobs);
    let (sheets, mut files): (Vec<&S>, Vec<&mut Answers<S::Record>>) = jobs
        .iter_mut()
        .map(|job| (&job.sheet, &mut job.answers))
        .unzip();
    let started = Instant::now();
    let progress = Progress::new("answering", places.len() as u64);
    // What cannot be answered is written down already, so a task's number is that of its place.
    let tasks = places
        .iter()
        .filter_map(|(job, at)| sheets[*job].task(*at).ok());
    let worked = work::work(decoder, limits, tasks, &mut |number, answers, tokens| {
        let (job, at) = places[number];
        let record = sheets[job].record(at, answers)?;
        files[job].add(at, record)?;
        progress.inc(1);
        let rate = tokens as f64 / started.elapsed().as_secs_f64();
        progress.status(format!("{rate:.1} tokens/s"));
        Ok(())
    });
    progress.finish();
    // Whatever happened, finished answers are kept, and in order.
    for file in files {
        file.finish()?;
    }
    let Outcome {
        tokens,
        interrupted,
    } = worked?;
    if interrupted && jobs.iter().any(|job| job.missing().next().is_some()) {
        return Err(interruption(jobs));
    }
    Ok((tokens, started.elapsed().as_secs_f64()))
}

/// Every job's number with each of its positions that are to be answered now.
fn places<S: Sheet>(jobs: &[Job<S>]) -> Vec<(usize, usize)> {
    let of_job = |(number, job): (usize, &'_ Job<S>)| {
        let missing: Vec<usize> = job.missing().collect();
        missing.into_iter().map(move |at| (number, at))
    };
    jobs.iter().enumerate().flat_map(of_job).collect()
}

fn interruption<S: Sheet>(jobs: &[Job<S>]) -> StageError {
    let kept: usize = jobs.iter().map(|job| job.answers.count()).sum();
    let files: Vec<String> = jobs
        .iter()
        .map(|job| job.out_file.display().to_string())
        .collect();
    StageError::interrupted(format!(
        "interrupted; {kept} answers are kept in {}, the same command goes on from there",
        files.join(", ")
    ))
}
