//! What a safetensors file says of itself, checked before a reader believes it.
//!
//! The `safetensors` crate refuses damaged files too, but without naming the tensor; it keeps of a
//! name that occurs twice the last; and it builds a tree of the whole header first, so that a shape
//! of a million ones takes forty times its bytes. Here nothing is kept that the format has no place
//! for.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use safetensors::Dtype;
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::ModelError;

/// Bytes of the header's length.
const PREFIX: usize = 8;
/// The format's own limit.
const MAX_HEADER: u64 = 100_000_000;
/// More dimensions than a weight has.
const MAX_RANK: usize = 8;

/// Refuses a damaged or contradictory safetensors file, of which only the header is read.
///
/// # Errors
/// If it cannot be read, or with the tensor that is wrong.
pub(super) fn check_file(path: &Path) -> Result<(), ModelError> {
    let io = || ModelError::io(path);
    let damaged = |reason| ModelError::Damaged {
        path: path.to_path_buf(),
        reason,
    };
    let about = std::fs::metadata(path).map_err(io())?;
    // Asked before it is opened: opening a pipe would wait for its other end.
    if !about.is_file() {
        return Err(damaged("it is not a regular file".to_owned()));
    }
    let mut file = File::open(path).map_err(io())?;
    let mut prefix = Vec::with_capacity(PREFIX);
    let start = file.by_ref().take(PREFIX as u64).read_to_end(&mut prefix);
    start.map_err(io())?;
    let length = header_length(&prefix, about.len()).map_err(damaged)?;
    let mut header = Vec::with_capacity(length);
    let rest = file.take(length as u64).read_to_end(&mut header);
    rest.map_err(io())?;
    let data = about.len() - (PREFIX + length) as u64;
    check_header(&header, data).map_err(damaged)
}

/// Refuses a damaged or contradictory safetensors file that is in memory: a header that is longer
/// than the file or of another form, names that occur twice, tensors past the end of the file, over
/// one another, or of another size than type and shape give.
///
/// # Errors
/// What is wrong, with the tensor's name.
pub fn check_safetensors(file: &[u8]) -> Result<(), String> {
    let length = header_length(file, file.len() as u64)?;
    let after = file.get(PREFIX..).unwrap_or_default();
    let header = after.get(..length).unwrap_or_default();
    check_header(header, (after.len() - header.len()) as u64)
}

fn header_length(file: &[u8], size: u64) -> Result<usize, String> {
    let Some(prefix) = file.first_chunk::<PREFIX>() else {
        return Err(format!(
            "it has {size} bytes, not even the {PREFIX} of the header's length"
        ));
    };
    let length = u64::from_le_bytes(*prefix);
    let room = size.saturating_sub(PREFIX as u64).min(MAX_HEADER);
    if length > room {
        return Err(format!(
            "its header claims {length} bytes, at most {room} can be"
        ));
    }
    Ok(length as usize)
}

fn check_header(header: &[u8], data: u64) -> Result<(), String> {
    let Entries(mut entries) = serde_json::from_slice(header)
        .map_err(|e| format!("its header is no table of tensors: {e}"))?;
    for (name, entry) in &entries {
        entry.check(name, data)?;
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    if let Some(pair) = entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(format!("tensor `{}` occurs twice", pair[0].0));
    }
    entries.retain(|(_, entry)| entry.data_offsets.0 < entry.data_offsets.1);
    entries.sort_by_key(|(_, entry)| entry.data_offsets);
    for pair in entries.windows(2) {
        let (
            (
                before,
                Entry {
                    data_offsets: (_, end),
                    ..
                },
            ),
            (after, entry),
        ) = (&pair[0], &pair[1]);
        if entry.data_offsets.0 < *end {
            return Err(format!(
                "tensor `{after}` starts at byte {} of the data, inside tensor `{before}`, which ends \
                 at byte {end}",
                entry.data_offsets.0
            ));
        }
    }
    Ok(())
}

/// The header's entries in the file's order, `__metadata__` aside.
struct Entries(Vec<(String, Entry)>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: Dtype,
    shape: Shape,
    data_offsets: (u64, u64),
}

impl Entry {
    fn check(&self, name: &str, data: u64) -> Result<(), String> {
        let (start, end) = self.data_offsets;
        if start > end || end > data {
            return Err(format!(
                "tensor `{name}` is at bytes {start} to {end} of the data, which has {data}"
            ));
        }
        let elements = self
            .shape
            .0
            .iter()
            .try_fold(1u64, |n, &dim| n.checked_mul(dim));
        let bits = elements.and_then(|n| n.checked_mul(self.dtype.bitsize() as u64));
        if bits != Some((end - start).saturating_mul(8)) {
            return Err(format!(
                "tensor `{name}` of type {} and shape {:?} is said to take {} bytes",
                self.dtype,
                self.shape.0,
                end - start
            ));
        }
        Ok(())
    }
}

/// Dimensions, outermost first.
struct Shape(Vec<u64>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {MAX_RANK} dimensions")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
        let mut dims = Vec::new();
        while let Some(dim) = seq.next_element()? {
            if dims.len() == MAX_RANK {
                return Err(A::Error::invalid_length(MAX_RANK + 1, &self));
            }
            dims.push(dim);
        }
        Ok(Shape(dims))
    }
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut entries = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                map.next_value::<Texts>()?;
                continue;
            }
            let entry = map.next_value();
            let entry = entry.map_err(|e| A::Error::custom(format!("tensor `{name}`: {e}")))?;
            entries.push((name, entry));
        }
        Ok(Entries(entries))
    }
}

/// `__metadata__`: texts by name or nothing, none of it kept.
struct Texts;

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextsVisitor)
    }
}

struct TextsVisitor;

impl<'de> Visitor<'de> for TextsVisitor {
    type Value = Texts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts")
    }

    fn visit_unit<E>(self) -> Result<Texts, E> {
        Ok(Texts)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Texts, A::Error> {
        while map.next_key::<IgnoredAny>()?.is_some() {
            map.next_value::<String>()?;
        }
        Ok(Texts)
    }
}

#[cfg(test)]
mod tests;
