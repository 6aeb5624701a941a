//! Everything in front of the tensor data: version, metadata, tensor table.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use crate::cursor::{Cursor, Place};
use crate::error::{GgufError, Problem};
use crate::types::GgmlType;
use crate::value::Value;
use crate::{array, getters, overlap};

/// The alignment of tensor data where `general.alignment` is absent.
pub(crate) const DEFAULT_ALIGNMENT: u64 = 32;
/// The key of another one.
pub(crate) const ALIGNMENT_KEY: &str = "general.alignment";
/// The format asks for a multiple of 8, llama.cpp for a power of two. So the fields of every block
/// are aligned in a mapped file.
const MIN_ALIGNMENT: usize = 8;
/// Far more than any file has; a larger one would be a file of padding.
pub(crate) const MAX_ALIGNMENT: usize = 1 << 20;
/// ggml's `GGML_MAX_DIMS`.
pub(crate) const MAX_DIMS: u32 = 4;
/// A name length, a type and the smallest value: no metadata entry is shorter.
const MIN_ENTRY_BYTES: u64 = 8 + 4 + 1;
/// A name length, a rank, a type and an offset: no tensor description is shorter.
const MIN_TENSOR_BYTES: u64 = 8 + 4 + 4 + 8;

/// The parsed header of a GGUF file.
#[derive(Debug, Clone)]
pub struct Header {
    pub(crate) origin: Option<PathBuf>,
    version: u32,
    metadata: BTreeMap<String, Value>,
    tensors: Vec<TensorInfo>,
    by_name: BTreeMap<String, usize>,
    data_offset: usize,
}

/// One entry of the tensor table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// ggml's name, such as `blk.0.attn_q.weight`.
    pub name: String,
    /// Dimensions, outermost first as in `NumPy` and Hugging Face files: a linear layer is
    /// `[out, in]`. (The file stores them innermost first.)
    pub shape: Vec<usize>,
    /// Storage of the elements.
    pub ggml_type: GgmlType,
    /// First byte, from the start of the file.
    pub offset: usize,
    /// Bytes of the whole tensor.
    pub n_bytes: usize,
}

impl Header {
    /// Parses the header at the start of `bytes`; tensor data need not be there.
    ///
    /// # Errors
    /// Any [`Problem`] of structure. Memory use is bounded by a small multiple of `bytes.len()`
    /// whatever the counts in the bytes claim.
    pub fn parse(bytes: &[u8]) -> Result<Self, GgufError> {
        Self::parse_from(bytes, None)
    }

    pub(crate) fn parse_from(bytes: &[u8], origin: Option<&Path>) -> Result<Self, GgufError> {
        let mut header = parse(bytes).map_err(|p| GgufError::new(origin, p))?;
        header.origin = origin.map(Path::to_path_buf);
        Ok(header)
    }

    /// The format version, 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// All metadata, by key.
    pub fn metadata(&self) -> &BTreeMap<String, Value> {
        &self.metadata
    }

    /// The tensor table, in file order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor with this name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.by_name.get(name).and_then(|&i| self.tensors.get(i))
    }

    /// Where tensor data starts, from the start of the file.
    pub fn data_offset(&self) -> usize {
        self.data_offset
    }

    getters::typed_getters!();
}

fn parse(bytes: &[u8]) -> Result<Header, Problem> {
    let mut cursor = Cursor::new(bytes);
    let magic = bytes.get(..4).unwrap_or(bytes);
    if magic != b"GGUF" {
        return Err(Problem::Magic {
            found: magic.to_vec(),
        });
    }
    cursor.take(4, Place::Header)?;
    let version = check_version(cursor.u32(Place::Header)?)?;
    let n_tensors = cursor.u64(Place::Header)?;
    let n_entries = cursor.u64(Place::Header)?;
    let metadata = read_metadata(&mut cursor, n_entries)?;
    let alignment = alignment(metadata.get(ALIGNMENT_KEY))?;
    let raw = read_tensor_table(&mut cursor, n_tensors)?;
    let data_offset = align_up(cursor.position() as u64, alignment as u64)
        .and_then(|v| usize::try_from(v).ok())
        .ok_or(Problem::Alignment {
            found: alignment as u64,
        })?;
    let tensors = raw
        .into_iter()
        .map(|tensor| tensor.locate(data_offset, alignment))
        .collect::<Result<Vec<_>, _>>()?;
    overlap::refuse(&tensors)?;
    let by_name = tensors
        .iter()
        .enumerate()
        .map(|(i, t)| (t.name.clone(), i))
        .collect();
    Ok(Header {
        origin: None,
        version,
        metadata,
        tensors,
        by_name,
        data_offset,
    })
}

fn check_version(found: u32) -> Result<u32, Problem> {
    match found {
        2 | 3 => Ok(found),
        1 => Err(Problem::Version {
            found,
            hint: " (version 1 was replaced in 2023: convert it)",
        }),
        v if (1..=3).contains(&v.swap_bytes()) => Err(Problem::Version {
            found,
            hint: " (the file is big-endian, which is not supported)",
        }),
        _ => Err(Problem::Version { found, hint: "" }),
    }
}

fn read_metadata(cursor: &mut Cursor<'_>, n: u64) -> Result<BTreeMap<String, Value>, Problem> {
    cursor.check_count(n, MIN_ENTRY_BYTES, Place::Header)?;
    let mut metadata = BTreeMap::new();
    for i in 0..n {
        let key = cursor.string(Place::KeyName(i))?;
        let value = array::read_value(cursor, Place::Value(&key))?;
        if metadata.contains_key(&key) {
            return Err(Problem::Duplicate {
                what: "key",
                name: key,
            });
        }
        metadata.insert(key, value);
    }
    Ok(metadata)
}

/// The alignment that the value of [`ALIGNMENT_KEY`], if any, asks for.
pub(crate) fn alignment(value: Option<&Value>) -> Result<usize, Problem> {
    let found = match value {
        None => DEFAULT_ALIGNMENT,
        Some(value) => value.as_u64().ok_or_else(|| Problem::WrongType {
            key: ALIGNMENT_KEY.into(),
            found: value.describe(),
            expected: "u32",
        })?,
    };
    match usize::try_from(found) {
        Ok(n) if (MIN_ALIGNMENT..=MAX_ALIGNMENT).contains(&n) && n.is_power_of_two() => Ok(n),
        _ => Err(Problem::Alignment { found }),
    }
}

fn align_up(value: u64, alignment: u64) -> Option<u64> {
    value
        .checked_add(alignment - 1)
        .map(|v| v & !(alignment - 1))
}

/// A tensor description before the start of the data section is known.
struct RawTensor {
    name: String,
    dims: Vec<u64>,
    ggml_type: GgmlType,
    data_offset: u64,
}

fn read_tensor_table(cursor: &mut Cursor<'_>, n: u64) -> Result<Vec<RawTensor>, Problem> {
    let capacity = cursor.check_count(n, MIN_TENSOR_BYTES, Place::Header)?;
    let mut tensors = Vec::with_capacity(capacity);
    let mut seen = HashSet::with_capacity(capacity);
    for i in 0..n {
        let tensor = read_tensor(cursor, i)?;
        if !seen.insert(tensor.name.clone()) {
            return Err(Problem::Duplicate {
                what: "tensor",
                name: tensor.name,
            });
        }
        tensors.push(tensor);
    }
    Ok(tensors)
}

fn read_tensor(cursor: &mut Cursor<'_>, index: u64) -> Result<RawTensor, Problem> {
    let name = cursor.string(Place::TensorName(index))?;
    let place = Place::Tensor(&name);
    let rank = cursor.u32(place)?;
    if rank > MAX_DIMS {
        let why = format!("{rank} dimensions, expected at most {MAX_DIMS}");
        return Err(Problem::Shape {
            tensor: name,
            dims: Vec::new(),
            why,
        });
    }
    let dims = cursor.items(rank as usize, place, u64::from_le_bytes)?;
    let id = cursor.u32(place)?;
    let data_offset = cursor.u64(place)?;
    match GgmlType::from_id(id) {
        Some(ggml_type) => Ok(RawTensor {
            name,
            dims,
            ggml_type,
            data_offset,
        }),
        None => Err(Problem::TensorType { tensor: name, id }),
    }
}

impl RawTensor {
    /// Checks shape and offset, and turns the offset into one from the start of the file.
    fn locate(self, data_start: usize, alignment: usize) -> Result<TensorInfo, Problem> {
        let n_bytes = match self.ggml_type.n_bytes(&self.dims) {
            Ok(n) => n,
            Err(why) => {
                return Err(Problem::Shape {
                    tensor: self.name,
                    dims: self.dims,
                    why,
                });
            }
        };
        let offset = usize::try_from(self.data_offset)
            .ok()
            .filter(|offset| offset.is_multiple_of(alignment))
            .and_then(|offset| offset.checked_add(data_start));
        let Some(offset) = offset else {
            let (tensor, offset) = (self.name, self.data_offset);
            return Err(Problem::Offset {
                tensor,
                offset,
                alignment,
            });
        };
        let shape = self.dims.iter().rev().map(|&d| d as usize).collect();
        Ok(TensorInfo {
            name: self.name,
            shape,
            ggml_type: self.ggml_type,
            offset,
            n_bytes,
        })
    }
}
