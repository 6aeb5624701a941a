//! The output file: what it holds already, and what is added to it.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use atomic_write_file::AtomicWriteFile;
use serde::Serialize;
use serde::de::DeserializeOwned;
use stage::StageError;

/// How often the disk is asked to have everything: a crash of the machine loses at most what finished in such a time.
const SYNC_EVERY: Duration = Duration::from_millis(100);

/// A line of an output file.
pub(crate) trait Record: Serialize + DeserializeOwned {
    /// Which question it answers; the same for repeated questions.
    fn key(&self) -> &str;

    /// What a person calls it.
    fn name(&self) -> &str;

    /// Whether it answers an earlier form of one of the questions of these names, and so makes way for a new answer.
    fn is_outdated(&self, _names: &HashSet<&str>) -> bool {
        false
    }
}

/// A question as the output file knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked<'a> {
    /// As [`Record::key`].
    pub(crate) key: &'a str,
    /// As [`Record::name`].
    pub(crate) name: &'a str,
}

/// Answers by the position of their question, and the file they are appended to.
///
/// An answer is appended as soon as it is there, so that whatever stops the program takes no finished answer with it.
/// [`Answers::finish`] puts the file in order.
pub(crate) struct Answers<R> {
    path: PathBuf,
    file: File,
    /// What the file holds, by position of the question.
    written: BTreeMap<usize, R>,
    /// Positions in the order of the file's lines.
    order: Vec<usize>,
    /// How many questions there are.
    asked: usize,
    /// Whether the file holds lines that are to go.
    outdated: bool,
    synced: Instant,
}

impl<R: Record> Answers<R> {
    /// Opens `path` for the questions, mends a torn last line, and finds what is answered already.
    pub(crate) fn open(path: &Path, questions: &[Asked<'_>]) -> Result<Self, StageError> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(|e| cannot_write(path, &e))?;
        // Two runs on one file would answer rows twice. Where locks are not supported, go on.
        if let Err(std::fs::TryLockError::WouldBlock) = file.try_lock() {
            let text = format!(
                "{} is being written by another run; wait for it",
                path.display()
            );
            return Err(StageError::failed(text));
        }
        let records = read(path, &mut file)?;
        let lines = records.len();
        let (order, written) = place(path, records, questions)?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            outdated: order.len() < lines,
            written,
            order,
            asked: questions.len(),
            synced: Instant::now(),
        })
    }

    /// Positions of the questions without an answer, in order.
    pub(crate) fn missing(&self) -> impl Iterator<Item = usize> {
        (0..self.asked).filter(|at| !self.written.contains_key(at))
    }

    /// How many answers the file holds.
    pub(crate) fn count(&self) -> usize {
        self.written.len()
    }

    /// The answer to the question at `position`.
    pub(crate) fn get(&self, position: usize) -> Option<&R> {
        self.written.get(&position)
    }

    /// The answers in the file, in the order of the questions.
    pub(crate) fn all(&self) -> impl Iterator<Item = &R> {
        self.written.values()
    }

    /// Appends the answer to the question at `position`.
    pub(crate) fn add(&mut self, position: usize, answer: R) -> Result<(), StageError> {
        let kept = self.written.len();
        let mut append = || -> std::io::Result<()> {
            // One call, so that a line is torn by nothing less than a crash in the midst of it.
            self.file.write_all(&line(&answer))?;
            if self.synced.elapsed() >= SYNC_EVERY {
                self.file.sync_data()?;
                self.synced = Instant::now();
            }
            Ok(())
        };
        append().map_err(|e| {
            cannot_write(&self.path, &e).context(format!(
                "{kept} answers are kept, the same command goes on from there"
            ))
        })?;
        self.order.push(position);
        self.written.insert(position, answer);
        Ok(())
    }

    /// Puts the file into the order of the questions, and onto the disk. Nothing can be added after it.
    pub(crate) fn finish(&mut self) -> Result<(), StageError> {
        let finish = || -> std::io::Result<()> {
            if self.order.is_sorted() && !self.outdated {
                return self.file.sync_data();
            }
            let mut file = AtomicWriteFile::open(&self.path)?;
            for answer in self.written.values() {
                file.write_all(&line(answer))?;
            }
            file.commit()
        };
        finish().map_err(|e| cannot_write(&self.path, &e))
    }
}

fn line(answer: &impl Serialize) -> Vec<u8> {
    // Strings, numbers and booleans always go into JSON.
    let mut line = serde_json::to_vec(answer).unwrap_or_default();
    line.push(b'\n');
    line
}

/// The answers in the file. A last line that a crash tore is cut off; its question is answered again.
fn read<R: Record>(path: &Path, file: &mut File) -> Result<Vec<R>, StageError> {
    let bytes = std::fs::read(path)
        .map_err(|e| StageError::bad_data(format!("cannot read {}: {e}", path.display())))?;
    let whole = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let mut answers = Vec::new();
    for (at, line) in bytes[..whole].split(|byte| *byte == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        answers.push(serde_json::from_slice(line).map_err(|e| {
            StageError::bad_data(format!(
                "{}, line {}: not an answer of this stage: {e}; delete the file to start again, or \
                 choose another --out_file",
                path.display(),
                at + 1
            ))
        })?);
    }
    if whole < bytes.len() {
        let mended = match serde_json::from_slice(&bytes[whole..]) {
            // Only the line's end was lost.
            Ok(answer) => {
                answers.push(answer);
                file.write_all(b"\n")
            }
            Err(_) => file
                .set_len(whole as u64)
                .and_then(|()| file.seek(SeekFrom::End(0)).map(|_| ())),
        };
        mended.map_err(|e| cannot_write(path, &e))?;
    }
    Ok(answers)
}

/// Answers by position, and the positions in the order of the lines.
type Placed<R> = (Vec<usize>, BTreeMap<usize, R>);

/// Finds each answer's question; repeated questions take repeated answers in order, outdated answers none.
fn place<R: Record>(
    path: &Path,
    answers: Vec<R>,
    questions: &[Asked<'_>],
) -> Result<Placed<R>, StageError> {
    let mut open: HashMap<&str, VecDeque<usize>> = HashMap::new();
    for (at, question) in questions.iter().enumerate() {
        open.entry(question.key).or_default().push_back(at);
    }
    let names: HashSet<&str> = questions.iter().map(|question| question.name).collect();
    let (mut order, mut written) = (Vec::new(), BTreeMap::new());
    for answer in answers {
        let place = open.get_mut(answer.key()).and_then(VecDeque::pop_front);
        if let Some(at) = place {
            order.push(at);
            written.insert(at, answer);
        } else if !answer.is_outdated(&names) {
            return Err(StageError::bad_data(format!(
                "{} holds an answer to a row (id {}) that is not among those to be answered, or \
                 holds it twice; delete the file to start again, or choose another --out_file",
                path.display(),
                answer.name()
            )));
        }
    }
    Ok((order, written))
}

fn cannot_write(path: &Path, error: &std::io::Error) -> StageError {
    StageError::failed(format!(
        "cannot write {}: {error}; check that its folder exists, is writable and has space",
        path.display()
    ))
}

#[cfg(test)]
mod tests;
