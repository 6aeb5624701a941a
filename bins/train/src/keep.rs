//! Checkpoints of a run: writing them, keeping few of them, and going on from one.

use std::path::Path;

use lora::{
    Checkpoint, CheckpointError, CheckpointFolder, LoraError, Sample, Settings, Snapshot,
    fingerprint,
};
use serde_json::Value;
use stage::{Manifest, StageError};

use crate::args::Args;
use crate::say;

/// Where a run's checkpoints go, and which of them stay.
pub(crate) struct Keeper {
    folder: CheckpointFolder,
    settings: Settings,
    limit: Option<usize>,
    keep_best: bool,
    /// Without `--save-steps`, checkpoints are there for the run alone.
    passing: bool,
}

impl Keeper {
    pub(crate) fn new(args: &Args, settings: Settings) -> Self {
        Self {
            folder: CheckpointFolder::new(&args.output_dir),
            settings,
            limit: args.save_total_limit,
            keep_best: args.load_best_model_at_end,
            passing: args.save_steps.is_none(),
        }
    }

    /// The checkpoint to go on from, if that was asked for and there is one.
    pub(crate) fn find(&self, args: &Args) -> Result<Option<Checkpoint>, StageError> {
        match &args.resume_from_checkpoint {
            None => self.start_anew(args),
            Some(word) if word.as_os_str() == "true" => self.newest(args),
            Some(folder) => {
                let found = Checkpoint::load(folder).map_err(|error| {
                    let missing = !folder.is_dir();
                    let error = StageError::bad_data(error);
                    if missing {
                        error.context(format!("no checkpoint folder {}", folder.display()))
                    } else {
                        error
                    }
                })?;
                found.check(&self.settings).map_err(StageError::usage)?;
                Ok(Some(found))
            }
        }
    }

    fn start_anew(&self, args: &Args) -> Result<Option<Checkpoint>, StageError> {
        match self.folder.steps().map_err(StageError::failed)?.last() {
            None => {}
            Some(_) if args.overwrite_output_dir => self.clear()?,
            Some(step) => {
                let folder = self.folder.path(*step);
                return Err(StageError::usage(format!(
                    "{} is there from an earlier run; go on from it with --resume, or start anew with \
                     --overwrite-output-dir, which removes it",
                    folder.display()
                )));
            }
        }
        Ok(None)
    }

    fn newest(&self, args: &Args) -> Result<Option<Checkpoint>, StageError> {
        let (found, passed) = self.folder.newest().map_err(StageError::failed)?;
        for error in passed {
            say(&format!("note: passed over a checkpoint: {error}"));
        }
        let Some(found) = found else {
            say("note: no checkpoint to go on from; starting at the beginning");
            return Ok(None);
        };
        match found.check(&self.settings) {
            Ok(()) => Ok(Some(found)),
            Err(error) if args.overwrite_output_dir => {
                say(&format!("note: starting anew: {error}"));
                self.clear()?;
                Ok(None)
            }
            Err(error) => Err(StageError::usage(error)),
        }
    }

    fn clear(&self) -> Result<(), StageError> {
        self.folder.remove_after(0).map_err(StageError::failed)
    }

    /// Writes a checkpoint and removes those that are no longer wanted.
    pub(crate) fn save(&self, snapshot: &Snapshot) -> Result<(), CheckpointError> {
        self.folder.save(snapshot, &self.settings)?;
        let best = snapshot.state.progress().best.as_ref();
        let best = best.map(|best| best.step);
        // Without --save-steps, only the best and the last are ever asked for.
        match self.limit.or_else(|| self.passing.then_some(1)) {
            Some(limit) => self.folder.rotate(limit, best.filter(|_| self.keep_best)),
            None => Ok(()),
        }
    }

    /// The adapter that a checkpoint of this run has.
    pub(crate) fn adapter(&self, step: usize) -> Result<lora::Adapter, LoraError> {
        lora::Adapter::load(self.folder.path(step))
    }

    /// After a run that is complete: removes the checkpoints that nobody asked for.
    pub(crate) fn finish(&self) -> Result<(), StageError> {
        if self.passing { self.clear() } else { Ok(()) }
    }
}

/// The setting that has the hashes of the model's files.
pub(crate) const MODEL_FILES: &str = "model_files";

/// All that decides a run's result, by the names of the flags: what must be equal to go on.
pub(crate) fn settings(
    manifest: &Manifest,
    model_files: &[impl AsRef<Path>],
    (rows, eval_rows): (&[Sample], &[Sample]),
    questions: Option<String>,
) -> Result<Settings, StageError> {
    let mut settings = manifest.arguments.clone();
    settings.extend(manifest.seeds.iter().map(|(k, v)| (k.clone(), (*v).into())));
    let mut add = |name: &str, value: Value| settings.insert(name.to_owned(), value);
    add("template", manifest.template.clone().into());
    add("train_rows", fingerprint(rows).into());
    add("eval_rows", fingerprint(eval_rows).into());
    add("questions", questions.into());
    let mut hashes = Vec::new();
    for path in model_files {
        let hash = stage::sha256_file(path.as_ref());
        hashes.push(Value::from(hash.map_err(StageError::bad_data)?));
    }
    add(MODEL_FILES, hashes.into());
    Ok(settings)
}
