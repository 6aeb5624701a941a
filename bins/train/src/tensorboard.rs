//! Event files as `TensorBoard` reads them: scalars, nothing else.
//!
//! A file is a sequence of `TFRecord`s: length (u64), its checksum, the message, its checksum, all little-endian; a
//! checksum is CRC-32C, rotated and shifted by a constant so that a checksum of checksums is none. A message is an
//! `Event` of `tensorflow/core/util/event.proto`, of which we write the wall time, the step, and scalars with the tags
//! that transformers gives them: `train/loss`, `eval/loss`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use lora::{EvalRecord, Progress, StepRecord};
use stage::StageError;

/// One name, so that a run that goes on finds its file again. `TensorBoard` looks for `tfevents` in it.
const FILE: &str = "events.out.tfevents.0.smoltune";
/// The first message of a file.
const FILE_VERSION: &str = "brain.Event:2";

/// Field numbers of the messages.
mod field {
    pub(super) const WALL_TIME: u64 = 1;
    pub(super) const STEP: u64 = 2;
    pub(super) const FILE_VERSION: u64 = 3;
    pub(super) const SUMMARY: u64 = 5;
    pub(super) const SUMMARY_VALUE: u64 = 1;
    pub(super) const TAG: u64 = 1;
    pub(super) const SIMPLE_VALUE: u64 = 2;
}

/// How the bytes of a field are to be read: the lower three bits of its key.
mod wire {
    pub(super) const VARINT: u64 = 0;
    pub(super) const FIXED64: u64 = 1;
    pub(super) const BYTES: u64 = 2;
    pub(super) const FIXED32: u64 = 5;
}

/// An event file that grows.
pub(crate) struct EventFile {
    file: File,
    path: PathBuf,
}

impl EventFile {
    /// Begins a file in `folder`, or for a run that goes on keeps of the old one what the run has behind it. In a folder
    /// that runs may share, the name ends in what tells their output folders apart.
    pub(crate) fn open(
        folder: &Path,
        shared_by: Option<&Path>,
        behind: &Progress,
    ) -> Result<Self, StageError> {
        stage::create_folder(folder)?;
        let path = folder.join(match shared_by {
            None => FILE.to_owned(),
            Some(run) => {
                let run = std::path::absolute(run).unwrap_or_else(|_| run.to_owned());
                let hash = stage::sha256_bytes(run.display().to_string().as_bytes());
                format!("{FILE}.{}", &hash[..8])
            }
        });
        let old = match behind.steps {
            0 => Vec::new(),
            _ => kept(&fs::read(&path).unwrap_or_default(), behind),
        };
        let begun = if old.is_empty() {
            record(&version(now()))
        } else {
            old
        };
        stage::write_bytes(&path, &begun)?;
        let file = File::options().append(true).open(&path);
        let file = file.map_err(|e| cannot_write(&path, &e))?;
        Ok(Self { file, path })
    }

    pub(crate) fn step(&mut self, record: &StepRecord) -> Result<(), StageError> {
        self.write(
            record.step,
            &[
                ("train/loss", record.loss),
                ("train/grad_norm", record.grad_norm),
                ("train/learning_rate", record.lr),
                ("train/tokens_per_s", record.tokens_per_s),
            ],
        )
    }

    pub(crate) fn evaluation(&mut self, record: &EvalRecord) -> Result<(), StageError> {
        let more = record.metrics.iter();
        let more: Vec<(String, f64)> = more
            .map(|(name, value)| {
                let name = name.strip_prefix("eval_").unwrap_or(name);
                (format!("eval/{name}"), *value)
            })
            .collect();
        let mut scalars = vec![
            ("eval/loss", record.eval_loss),
            ("eval/perplexity", record.perplexity),
        ];
        scalars.extend(more.iter().map(|(tag, value)| (tag.as_str(), *value)));
        self.write(record.step, &scalars)
    }

    /// One message, in one call: a process that is killed leaves whole ones, or half of the last.
    fn write(&mut self, step: usize, scalars: &[(&str, f64)]) -> Result<(), StageError> {
        let bytes = record(&event(now(), step, scalars));
        let written = self.file.write_all(&bytes);
        written.map_err(|e| cannot_write(&self.path, &e))
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> StageError {
    StageError::failed(format!("cannot write {}: {error}", path.display()))
}

/// Seconds since 1970.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

fn version(wall_time: f64) -> Vec<u8> {
    let mut event = fixed64(field::WALL_TIME, wall_time);
    event.extend(bytes(field::FILE_VERSION, FILE_VERSION.as_bytes()));
    event
}

/// An `Event` with scalars; those are f32 in its format.
fn event(wall_time: f64, step: usize, scalars: &[(&str, f64)]) -> Vec<u8> {
    let mut summary = Vec::new();
    for (tag, value) in scalars {
        let mut scalar = bytes(field::TAG, tag.as_bytes());
        varint(field::SIMPLE_VALUE << 3 | wire::FIXED32, &mut scalar);
        scalar.extend((*value as f32).to_le_bytes());
        summary.extend(bytes(field::SUMMARY_VALUE, &scalar));
    }
    let mut event = fixed64(field::WALL_TIME, wall_time);
    varint(field::STEP << 3 | wire::VARINT, &mut event);
    varint(step as u64, &mut event);
    event.extend(bytes(field::SUMMARY, &summary));
    event
}

fn fixed64(field: u64, value: f64) -> Vec<u8> {
    let mut out = Vec::new();
    varint(field << 3 | wire::FIXED64, &mut out);
    out.extend(value.to_le_bytes());
    out
}

fn bytes(field: u64, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    varint(field << 3 | wire::BYTES, &mut out);
    varint(content.len() as u64, &mut out);
    out.extend(content);
    out
}

/// Seven bits a byte, the lowest first; all but the last have the highest bit set.
fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A message in its frame.
fn record(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    let mut out = length.to_vec();
    out.extend(masked(&length).to_le_bytes());
    out.extend(message);
    out.extend(masked(message).to_le_bytes());
    out
}

fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), bit by bit: a few hundred bytes a step need no table.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let carry = crc & 1;
            crc >>= 1;
            if carry == 1 {
                crc ^= 0x82f6_3b78;
            }
        }
    }
    !crc
}

/// The frames of a file that tell of what a run has behind it: what comes after its last checkpoint is told again, and
/// so is all after a frame that is damaged.
fn kept(mut file: &[u8], behind: &Progress) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some((message, rest)) = frame(file) {
        let whole = &file[..file.len() - rest.len()];
        file = rest;
        let Some((step, tag)) = step_and_tag(message) else {
            break;
        };
        let evaluation = tag.starts_with(b"eval/");
        let again = evaluation && step == behind.steps as u64 && !behind.settled;
        if step <= behind.steps as u64 && !again {
            out.extend(whole);
        }
    }
    out
}

/// The first message of a file and what follows it; nothing where it is not whole.
fn frame(file: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = file.split_first_chunk::<8>()?;
    let (check, rest) = rest.split_first_chunk::<4>()?;
    let whole = u32::from_le_bytes(*check) == masked(length);
    let length = usize::try_from(u64::from_le_bytes(*length)).ok();
    let (message, rest) = rest.split_at_checked(length.filter(|_| whole)?)?;
    let (check, rest) = rest.split_first_chunk::<4>()?;
    (u32::from_le_bytes(*check) == masked(message)).then_some((message, rest))
}

/// An event's step (0 where it has none) and its first tag; `None` where it is none of our messages.
fn step_and_tag(event: &[u8]) -> Option<(u64, &[u8])> {
    let step = find(event, field::STEP)?.0;
    let (_, summary) = find(event, field::SUMMARY)?;
    let (_, value) = find(summary, field::SUMMARY_VALUE)?;
    let (_, tag) = find(value, field::TAG)?;
    Some((step, tag))
}

/// The number, or the bytes, of the first field of that number in a message: 0 and nothing where there is none. `None`
/// where the message cannot be read.
fn find(mut message: &[u8], field: u64) -> Option<(u64, &[u8])> {
    while !message.is_empty() {
        let key = read_varint(&mut message)?;
        let value = match key & 7 {
            wire::VARINT => (read_varint(&mut message)?, &[][..]),
            wire::FIXED64 => (0, take(&mut message, 8)?),
            wire::FIXED32 => (0, take(&mut message, 4)?),
            wire::BYTES => {
                let length = usize::try_from(read_varint(&mut message)?).ok()?;
                (0, take(&mut message, length)?)
            }
            _ => return None,
        };
        if key >> 3 == field {
            return Some(value);
        }
    }
    Some((0, &[]))
}

fn take<'a>(message: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = message.split_at_checked(count)?;
    *message = rest;
    Some(taken)
}

fn read_varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(message, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests;
