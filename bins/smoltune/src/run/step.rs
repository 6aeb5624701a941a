//! One step of a run: a stage's command line, what it reads, what it writes, and a record that
//! says whether it has been done already.

use std::path::{Path, PathBuf};

use serde_json::Value;
use stage::{Manifest, Results, StageError};

use crate::say;

/// A stage to run, as a person could type it.
pub(crate) struct Step {
    /// Names the record: `steps/NAME.json`.
    pub(crate) name: String,
    /// The command line after the program's name.
    pub(crate) command: Vec<String>,
    /// Files whose contents decide whether the step must be done again.
    pub(crate) inputs: Vec<PathBuf>,
    /// Files that make the step complete.
    pub(crate) outputs: Vec<PathBuf>,
    /// Lines are appended to the output, and the stage goes on where it stopped.
    pub(crate) resumes: bool,
    /// Where the stage's own results go while it runs as a step.
    pub(crate) results: Results,
}

/// What became of a step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// It was run.
    Ran,
    /// Its record says that it was complete and that nothing has changed.
    Skipped,
}

impl Step {
    /// Does the step unless its record in `folder` shows that nothing has changed.
    ///
    /// The record is written twice: before the work without outputs (begun) and after it with
    /// them (complete). Work that was begun from the same inputs is taken up where it stopped if
    /// the stage can do that; in every other case the outputs of earlier work are removed first,
    /// so that nothing old can be taken for new.
    pub(crate) fn ensure(
        &self,
        folder: &Path,
        work: impl FnOnce(&[String]) -> Result<(), StageError>,
    ) -> Result<Done, StageError> {
        let path = folder.join("steps").join(format!("{}.json", self.name));
        let mut record = self.record(folder)?;
        let before = Manifest::read(&path)
            .ok()
            .filter(|before| before.same_work(&record));
        if let Some(before) = &before
            && before.outputs.len() == self.outputs.len()
            && before.outputs_intact(folder)
        {
            say(&format!("{}: complete and unchanged, skipped", self.name));
            return Ok(Done::Skipped);
        }
        if before.is_none_or(|before| !before.outputs.is_empty()) || !self.resumes {
            self.clear()?;
        }
        say(&format!("{}: smoltune {}", self.name, shown(&self.command)));
        record.write(&path)?;
        work(&self.command)?;
        for output in &self.outputs {
            record.add_output(output)?;
        }
        for output in &mut record.outputs {
            output.path = inside(&output.path, folder);
        }
        record.write(&path)?;
        Ok(Done::Ran)
    }

    /// The record of this step before it is done. Paths in the run folder are written relative to
    /// it, so that a folder that was moved is still complete.
    fn record(&self, folder: &Path) -> Result<Manifest, StageError> {
        let relative = |word: &String| Value::String(inside(word, folder));
        let command: Vec<Value> = self.command.iter().map(relative).collect();
        let mut record = Manifest::new(&self.name).argument("command", command);
        for input in &self.inputs {
            record.add_input(input)?;
        }
        for input in &mut record.inputs {
            input.path = inside(&input.path, folder);
        }
        Ok(record)
    }

    fn clear(&self) -> Result<(), StageError> {
        let mut old = self.outputs.iter().filter(|path| path.exists());
        old.try_for_each(|path| super::remove(path))
    }
}

/// A path relative to `folder` where it lies inside; anything else as it is.
fn inside(path: &str, folder: &Path) -> String {
    let short = Path::new(path).strip_prefix(folder);
    short.map_or_else(|_| path.to_owned(), |short| short.display().to_string())
}

/// A command line as a shell would take it.
pub(crate) fn shown(command: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,=:+@%".contains(c);
    let word = |word: &String| {
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    };
    command.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn step(folder: &Path, extra: &str) -> Step {
        Step {
            name: "copy".into(),
            command: vec!["copy".into(), extra.into()],
            inputs: vec![folder.join("in")],
            outputs: vec![folder.join("out")],
            resumes: false,
            results: Results::Stderr,
        }
    }

    #[test]
    fn done_once_skipped_while_unchanged_done_again_after_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        fs::create_dir(folder.join("steps")).unwrap();
        fs::write(folder.join("in"), "a").unwrap();
        let ensure = |extra: &str| {
            let copy = |_: &[String]| {
                assert!(
                    !folder.join("out").exists(),
                    "old output is gone before new work"
                );
                fs::copy(folder.join("in"), folder.join("out")).map_err(StageError::failed)?;
                Ok(())
            };
            step(folder, extra).ensure(folder, copy).unwrap()
        };
        assert_eq!(ensure("x"), Done::Ran);
        assert_eq!(ensure("x"), Done::Skipped);
        assert_eq!(ensure("y"), Done::Ran, "another command");
        fs::write(folder.join("in"), "b").unwrap();
        assert_eq!(ensure("y"), Done::Ran, "another input");
        fs::write(folder.join("out"), "edited by hand").unwrap();
        assert_eq!(ensure("y"), Done::Ran, "another output");
        assert_eq!(ensure("y"), Done::Skipped);
    }

    #[test]
    fn a_failed_step_is_not_complete() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        fs::create_dir(folder.join("steps")).unwrap();
        fs::write(folder.join("in"), "a").unwrap();
        let fail = |_: &[String]| Err(StageError::failed("no"));
        assert!(step(folder, "x").ensure(folder, fail).is_err());
        let works = |_: &[String]| fs::write(folder.join("out"), "").map_err(StageError::failed);
        assert_eq!(step(folder, "x").ensure(folder, works).unwrap(), Done::Ran);
    }

    #[test]
    fn a_shown_command_can_be_pasted() {
        let words = ["train", "--lr", "1e-4", "a b", "it's"].map(String::from);
        assert_eq!(shown(&words), r"train --lr 1e-4 'a b' 'it'\''s'");
    }
}
