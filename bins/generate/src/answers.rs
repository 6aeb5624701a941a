//! The output file: what it holds already, and what is added to it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use atomic_write_file::AtomicWriteFile;
use stage::StageError;

use crate::prompts::Question;
use crate::record::Prediction;

/// Answers by the position of their row, and the file they are appended to.
///
/// Rows finish in any order and are appended in the order of the rows: an answer waits until those
/// before it are there. What waits when a run is stopped is appended out of order, so that nothing
/// is lost, and [`Answers::finish`] puts the file in order once it is complete.
pub(crate) struct Answers {
    path: PathBuf,
    file: File,
    /// What the file holds, by position of the row.
    written: BTreeMap<usize, Prediction>,
    /// Positions in the order of the file's lines.
    order: Vec<usize>,
    /// Finished, but waiting for an earlier one.
    waiting: BTreeMap<usize, Prediction>,
    /// Positions still to be appended, in order.
    open: VecDeque<usize>,
}

impl Answers {
    /// Opens `path` for the rows, mends a torn last line, and finds what is answered already.
    pub(crate) fn open(path: &Path, questions: &[Question]) -> Result<Self, StageError> {
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
        let (order, written) = place(path, read(path, &mut file)?, questions)?;
        let open = (0..questions.len())
            .filter(|at| !written.contains_key(at))
            .collect();
        let waiting = BTreeMap::new();
        Ok(Self {
            path: path.to_path_buf(),
            file,
            written,
            order,
            waiting,
            open,
        })
    }

    /// Positions of the rows without an answer, in order.
    pub(crate) fn missing(&self) -> Vec<usize> {
        self.open.iter().copied().collect()
    }

    /// How many answers the file holds.
    pub(crate) fn count(&self) -> usize {
        self.written.len()
    }

    /// Whether the row at `position` has an answer in the file.
    pub(crate) fn has(&self, position: usize) -> bool {
        self.written.contains_key(&position)
    }

    /// The answer to the row at `position`.
    pub(crate) fn get(&self, position: usize) -> Option<&Prediction> {
        self.written.get(&position)
    }

    /// The answers in the file, in the order of the rows.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Prediction> {
        self.written.values()
    }

    /// Takes the answer to the row at `position`; appends it as soon as those before it are there.
    pub(crate) fn add(&mut self, position: usize, answer: Prediction) -> Result<(), StageError> {
        self.waiting.insert(position, answer);
        while let Some(first) = self.open.front().copied() {
            let Some(answer) = self.waiting.remove(&first) else {
                break;
            };
            self.open.pop_front();
            self.append(first, answer)?;
        }
        Ok(())
    }

    /// Appends what waits, and puts the file into the order of the rows.
    pub(crate) fn finish(&mut self) -> Result<(), StageError> {
        for (position, answer) in std::mem::take(&mut self.waiting) {
            self.append(position, answer)?;
        }
        if self.order.is_sorted() {
            return Ok(());
        }
        let rewrite = || -> std::io::Result<()> {
            let mut file = AtomicWriteFile::open(&self.path)?;
            for answer in self.written.values() {
                file.write_all(&line(answer))?;
            }
            file.commit()
        };
        rewrite().map_err(|e| cannot_write(&self.path, &e))
    }

    fn append(&mut self, position: usize, answer: Prediction) -> Result<(), StageError> {
        let kept = self.written.len();
        self.file
            .write_all(&line(&answer))
            .and_then(|()| self.file.flush())
            .map_err(|e| {
                cannot_write(&self.path, &e).context(format!(
                    "{kept} answers are kept, the same command goes on from there"
                ))
            })?;
        self.order.push(position);
        self.written.insert(position, answer);
        Ok(())
    }
}

fn line(answer: &Prediction) -> Vec<u8> {
    // Strings, numbers and booleans always go into JSON.
    let mut line = serde_json::to_vec(answer).unwrap_or_default();
    line.push(b'\n');
    line
}

/// The answers in the file. A last line that a crash tore is cut off; its row is answered again.
fn read(path: &Path, file: &mut File) -> Result<Vec<Prediction>, StageError> {
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

/// Finds each answer's row; repeated rows take repeated answers in order.
fn place(
    path: &Path,
    answers: Vec<Prediction>,
    questions: &[Question],
) -> Result<(Vec<usize>, BTreeMap<usize, Prediction>), StageError> {
    let mut rows: HashMap<&str, VecDeque<usize>> = HashMap::new();
    for (at, question) in questions.iter().enumerate() {
        rows.entry(&question.key).or_default().push_back(at);
    }
    let (mut order, mut written) = (Vec::new(), BTreeMap::new());
    for answer in answers {
        let row = rows
            .get_mut(answer.key.as_str())
            .and_then(VecDeque::pop_front);
        let Some(at) = row else {
            return Err(StageError::bad_data(format!(
                "{} holds an answer to a row (id {}) that is not among those to be answered, or \
                 holds it twice; delete the file to start again, or choose another --out_file",
                path.display(),
                answer.id
            )));
        };
        order.push(at);
        written.insert(at, answer);
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
