//! What a run leaves behind while it goes on: the log file, and the progress line.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use lora::{EvalRecord, StepRecord, TrainEvent};
use serde::Serialize;
use stage::{Progress, StageError, interrupt};

/// Name of the log within the output folder.
pub(crate) const LOG_FILE: &str = "train_log.jsonl";

/// Listens to the trainer.
pub(crate) struct Recorder {
    log: BufWriter<File>,
    path: String,
    progress: Progress,
    logging_steps: usize,
    started: Instant,
    tokens: usize,
    /// Why the log could not be written; the run was ended for it.
    failure: Option<std::io::Error>,
}

impl Recorder {
    /// Starts a new log in `folder`; an old one is replaced.
    pub(crate) fn start(
        folder: &Path,
        steps: usize,
        logging_steps: usize,
    ) -> Result<Self, StageError> {
        let path = folder.join(LOG_FILE);
        let shown = path.display().to_string();
        let log = File::create(&path)
            .map_err(|e| StageError::failed(format!("cannot write {shown}: {e}")))?;
        Ok(Self {
            log: BufWriter::new(log),
            path: shown,
            progress: Progress::new("training", steps as u64),
            logging_steps,
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
            TrainEvent::Eval(record) => self.evaluation(&record),
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

    fn step(&mut self, record: &StepRecord) -> std::io::Result<()> {
        self.write(record)?;
        self.tokens += record.tokens;
        let (step, loss, lr) = (record.step, record.loss, record.lr);
        let speed = record.tokens_per_s;
        self.progress
            .status(format!("loss {loss:.4}, {speed:.0} tokens/s"));
        self.progress.inc(1);
        if self.logging_steps > 0 && step.is_multiple_of(self.logging_steps) {
            let norm = record.grad_norm;
            self.progress.note(format!(
                "step {step}: loss {loss:.4}, gradient norm {norm:.3}, lr {lr:.3e}, {speed:.0} tokens/s"
            ));
        }
        Ok(())
    }

    fn evaluation(&mut self, record: &EvalRecord) -> std::io::Result<()> {
        self.write(record)?;
        let (step, loss) = (record.step, record.eval_loss);
        self.progress
            .note(format!("step {step}: evaluation loss {loss:.4}"));
        Ok(())
    }

    /// One line, on disk at once: who watches the file sees every step.
    fn write(&mut self, record: &impl Serialize) -> std::io::Result<()> {
        serde_json::to_writer(&mut self.log, record)?;
        self.log.write_all(b"\n")?;
        self.log.flush()
    }

    /// Ends the progress line; returns the seconds since the start.
    ///
    /// An error of the log comes first: the run ended because of it.
    pub(crate) fn finish(self) -> Result<f64, StageError> {
        let seconds = self.started.elapsed().as_secs_f64();
        self.progress.finish();
        match self.failure {
            Some(error) => Err(StageError::failed(format!(
                "cannot write {}: {error}",
                self.path
            ))),
            None => Ok(seconds),
        }
    }
}
