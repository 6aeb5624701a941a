//! What a run leaves behind while it goes on: the log file, `TensorBoard`'s, and the progress line.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::time::Instant;

use lora::{EvalRecord, SkipRecord, StepRecord, TrainEvent};
use serde::{Deserialize, Serialize};
use stage::{Progress, StageError, interrupt};

use crate::args::Args;
use crate::choices::ReportTo;
use crate::keep::Keeper;
use crate::scorer;
use crate::tensorboard::EventFile;
use crate::view::View;

/// Name of the log within the output folder.
pub(crate) const LOG_FILE: &str = "train_log.jsonl";

/// Listens to the trainer.
pub(crate) struct Recorder<'a> {
    log: BufWriter<File>,
    path: String,
    events: Option<EventFile>,
    progress: Progress,
    view: View,
    logging_steps: usize,
    keeper: &'a Keeper,
    started: Instant,
    tokens: usize,
    /// What could not be written; the run was ended for it.
    failure: Option<StageError>,
}

impl<'a> Recorder<'a> {
    /// Starts the log and what else is asked for: a new one, or for a run that goes on the old one up to there.
    pub(crate) fn start(
        args: &Args,
        steps: usize,
        behind: &lora::Progress,
        keeper: &'a Keeper,
    ) -> Result<Self, StageError> {
        let path = args.output_dir.join(LOG_FILE);
        let shown = path.display().to_string();
        let failed = |e: std::io::Error| StageError::failed(format!("cannot write {shown}: {e}"));
        let log = if behind.steps == 0 {
            File::create(&path).map_err(failed)?
        } else {
            let kept = kept_lines(&fs::read(&path).unwrap_or_default(), behind);
            stage::write_bytes(&path, &kept)?;
            File::options().append(true).open(&path).map_err(failed)?
        };
        let events = match args.report_to {
            ReportTo::None => None,
            ReportTo::Tensorboard => Some(EventFile::open(
                &args.logging_dir(),
                args.logging_dir.is_some().then_some(&args.output_dir),
                behind,
            )?),
        };
        let progress = Progress::two_lines("training", steps as u64);
        progress.inc(behind.steps as u64);
        Ok(Self {
            log: BufWriter::new(log),
            path: shown,
            events,
            progress,
            view: View::default(),
            logging_steps: args.logging_steps,
            keeper,
            started: Instant::now(),
            tokens: 0,
            failure: None,
        })
    }

    /// Takes in an event; `Break` when the user wants to stop or the log cannot be written.
    pub(crate) fn hear(&mut self, event: TrainEvent) -> ControlFlow<()> {
        let written = match event {
            TrainEvent::Batch { tokens: _ } => Ok(()),
            TrainEvent::Step(record) => self.step(&record),
            TrainEvent::Skipped(record) => self.skipped(&record),
            TrainEvent::Eval(record) => self.evaluation(&record),
            TrainEvent::Checkpoint(snapshot) => {
                self.keeper.save(&snapshot).map_err(StageError::failed)
            }
        };
        if let Err(error) = written {
            self.failure = Some(error);
            return ControlFlow::Break(());
        }
        if interrupt::requested() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn step(&mut self, record: &StepRecord) -> Result<(), StageError> {
        self.write(record)?;
        if let Some(events) = &mut self.events {
            events.step(record)?;
        }
        self.tokens += record.tokens;
        let (step, loss, lr) = (record.step, record.loss, record.lr);
        let speed = record.tokens_per_s;
        self.progress.status(if self.progress.is_live() {
            self.view.line(record)
        } else {
            format!("loss {loss:.4}, {speed:.0} tokens/s")
        });
        self.progress.inc(1);
        if self.logging_steps > 0 && step.is_multiple_of(self.logging_steps) {
            let norm = record.grad_norm;
            self.progress.note(format!(
                "step {step}: loss {loss:.4}, gradient norm {norm:.3}, lr {lr:.3e}, {speed:.0} tokens/s, {:.0} GFLOP/s",
                record.gflops
            ));
        }
        Ok(())
    }

    fn skipped(&mut self, record: &SkipRecord) -> Result<(), StageError> {
        self.write(record)?;
        self.progress.inc(1);
        let SkipRecord { step, skipped } = record;
        self.progress
            .note(format!("step {step}: skipped, {skipped}"));
        Ok(())
    }

    fn evaluation(&mut self, record: &EvalRecord) -> Result<(), StageError> {
        self.write(record)?;
        if let Some(events) = &mut self.events {
            events.evaluation(record)?;
        }
        let (step, loss) = (record.step, record.eval_loss);
        let mut line = format!(
            "step {step}: evaluation loss {loss:.4}, perplexity {:.2}",
            record.perplexity
        );
        line += &scorer::text(record);
        self.progress.note(line);
        Ok(())
    }

    /// One line, on disk at once: who watches the file sees every step.
    fn write(&mut self, record: &impl Serialize) -> Result<(), StageError> {
        let mut write = || -> std::io::Result<()> {
            serde_json::to_writer(&mut self.log, record)?;
            self.log.write_all(b"\n")?;
            self.log.flush()
        };
        write().map_err(|e| StageError::failed(format!("cannot write {}: {e}", self.path)))
    }

    /// Ends the progress line; returns the seconds since the start and the tokens trained on in them.
    ///
    /// What could not be written comes first: the run ended because of it.
    pub(crate) fn finish(self) -> Result<(f64, usize), StageError> {
        let seconds = self.started.elapsed().as_secs_f64();
        self.progress.finish();
        match self.failure {
            Some(error) => Err(error),
            None => Ok((seconds, self.tokens)),
        }
    }
}

/// The whole lines of a log that tell of what a run has behind it. A process that was killed may have
/// got further than its last checkpoint, and may have left half a line.
fn kept_lines(log: &[u8], behind: &lora::Progress) -> Vec<u8> {
    #[derive(Deserialize)]
    struct Line {
        step: usize,
        eval_loss: Option<f64>,
    }
    let whole = log.split_inclusive(|byte| *byte == b'\n');
    let whole = whole.filter(|line| line.ends_with(b"\n"));
    let told = |line: &&[u8]| {
        serde_json::from_slice::<Line>(line).is_ok_and(|line| {
            // An evaluation that was not the last thing done after its step is made again.
            let again = line.eval_loss.is_some() && line.step == behind.steps && !behind.settled;
            line.step <= behind.steps && !again
        })
    };
    whole.filter(told).flatten().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_cut_to_what_is_behind_and_half_a_line_is_dropped() {
        let log = b"{\"step\":1,\"loss\":1}\n{\"step\":2,\"loss\":1}\n{\"step\":2,\"eval_loss\":3.0}\n{\"step\":3,\"los";
        let lines = |steps, settled| {
            let behind = lora::Progress {
                steps,
                settled,
                ..lora::Progress::default()
            };
            let kept = kept_lines(log, &behind);
            kept.split(|byte| *byte == b'\n').count() - 1
        };
        assert_eq!((lines(1, true), lines(2, true), lines(3, true)), (1, 3, 3));
        assert_eq!(lines(2, false), 2, "the evaluation will come again");
    }
}
