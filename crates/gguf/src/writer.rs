//! Writing a file: metadata and tensor table first, then each tensor's bytes as they are made.

use std::borrow::Borrow;
use std::io::{self, Write};

use crate::error::Problem;
use crate::header::{ALIGNMENT_KEY, DEFAULT_ALIGNMENT, MAX_ALIGNMENT, MAX_DIMS, alignment};
use crate::types::GgmlType;
use crate::value::{Array, Value};

/// The version that is written.
const VERSION: u32 = 3;

/// A file in the making: what stands in front of the tensor data.
///
/// Keys and tensors are written in the order in which they were added, the file's bytes follow from
/// them alone. What this writes, [`GgufFile`](crate::GgufFile) opens.
///
/// ```
/// use gguf::{GgmlType, GgufWriter, Value};
///
/// let mut writer = GgufWriter::new();
/// writer.set("general.architecture", "llama")?;
/// writer.tensor("output_norm.weight", &[2], GgmlType::F32)?;
/// let mut bytes = Vec::new();
/// writer.write(&mut bytes, |_name| Ok([1f32, 2.0].map(f32::to_le_bytes).concat()))?;
///
/// let header = gguf::Header::parse(&bytes)?;
/// assert_eq!(header.str("general.architecture")?, "llama");
/// assert_eq!(header.tensors()[0].shape, [2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct GgufWriter {
    metadata: Vec<(String, Value)>,
    tensors: Vec<Planned>,
    /// No tensor ends behind this offset, whatever the alignment.
    most_bytes: u64,
}

/// A tensor that will be written.
#[derive(Debug, Clone)]
struct Planned {
    name: String,
    /// Innermost first, as the file has them.
    dims: Vec<u64>,
    kind: GgmlType,
    n_bytes: usize,
}

impl GgufWriter {
    /// A file with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a metadata key. `general.alignment`, where it is set, holds for the file.
    ///
    /// # Errors
    /// If the key is there already, or is an alignment that cannot be.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) -> Result<(), Problem> {
        if self.metadata.iter().any(|(known, _)| known == key) {
            return Err(twice("key", key));
        }
        let value = value.into();
        if key == ALIGNMENT_KEY {
            alignment(Some(&value))?;
        }
        self.metadata.push((key.to_owned(), value));
        Ok(())
    }

    /// Adds a tensor; `shape` is outermost first (`[out, in]` for a linear layer).
    ///
    /// # Errors
    /// If the name is there already, there are more dimensions than ggml has, rows do not divide
    /// into the type's blocks, the size is beyond what memory can address, or its offset beyond 64
    /// bits.
    pub fn tensor(&mut self, name: &str, shape: &[usize], kind: GgmlType) -> Result<(), Problem> {
        if self.tensors.iter().any(|tensor| tensor.name == name) {
            return Err(twice("tensor", name));
        }
        let dims: Vec<u64> = shape.iter().rev().map(|&dim| dim as u64).collect();
        let sized = if dims.len() > MAX_DIMS as usize {
            Err(format!(
                "{} dimensions, expected at most {MAX_DIMS}",
                dims.len()
            ))
        } else {
            kind.n_bytes(&dims)
        };
        let ended = sized.and_then(|n_bytes| {
            let end = self.most_bytes.checked_add(n_bytes as u64);
            let end = end.and_then(|end| end.checked_add(MAX_ALIGNMENT as u64));
            let end = end.ok_or_else(|| "it ends behind the largest offset".to_owned())?;
            Ok((n_bytes, end))
        });
        let (n_bytes, end) = ended.map_err(|why| Problem::Shape {
            tensor: name.to_owned(),
            dims: dims.clone(),
            why,
        })?;
        self.most_bytes = end;
        self.tensors.push(Planned {
            name: name.to_owned(),
            dims,
            kind,
            n_bytes,
        });
        Ok(())
    }

    /// Writes the file; `data` gives the bytes of each tensor, blocks as stored, in the order of
    /// [`GgufWriter::tensor`], one at a time.
    ///
    /// # Errors
    /// If `data` fails, gives more or fewer bytes than the tensor has, or `out` cannot be written.
    pub fn write<B: Borrow<[u8]>>(
        &self,
        out: &mut impl Write,
        mut data: impl FnMut(&str) -> io::Result<B>,
    ) -> io::Result<()> {
        let aligned = |n: usize| n.next_multiple_of(self.alignment());
        let mut header = self.header();
        header.resize(aligned(header.len()), 0);
        out.write_all(&header)?;
        for tensor in &self.tensors {
            let bytes = data(&tensor.name)?;
            let bytes = bytes.borrow();
            if bytes.len() != tensor.n_bytes {
                let (name, found, expected) = (&tensor.name, bytes.len(), tensor.n_bytes);
                let text =
                    format!("tensor `{name}` was given {found} bytes, its type needs {expected}");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
            out.write_all(bytes)?;
            out.write_all(&vec![0; aligned(bytes.len()) - bytes.len()])?;
        }
        Ok(())
    }

    fn alignment(&self) -> usize {
        let mut keys = self.metadata.iter();
        let found = keys.find(|(key, _)| key == ALIGNMENT_KEY);
        // What `set` took.
        alignment(found.map(|(_, value)| value)).unwrap_or(DEFAULT_ALIGNMENT as usize)
    }

    fn header(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(VERSION.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            put_string(&mut out, key);
            out.extend(value.value_type().id().to_le_bytes());
            put_value(&mut out, value);
        }
        let alignment = self.alignment() as u64;
        let mut offset: u64 = 0;
        for tensor in &self.tensors {
            put_string(&mut out, &tensor.name);
            out.extend((tensor.dims.len() as u32).to_le_bytes());
            out.extend(tensor.dims.iter().flat_map(|dim| dim.to_le_bytes()));
            out.extend(tensor.kind.id().to_le_bytes());
            out.extend(offset.to_le_bytes());
            // `tensor` saw to it that this fits.
            offset += (tensor.n_bytes as u64).next_multiple_of(alignment);
        }
        out
    }
}

fn twice(what: &'static str, name: &str) -> Problem {
    let name = name.to_owned();
    Problem::Duplicate { what, name }
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(v) => out.push(*v),
        Value::I8(v) => out.extend(v.to_le_bytes()),
        Value::U16(v) => out.extend(v.to_le_bytes()),
        Value::I16(v) => out.extend(v.to_le_bytes()),
        Value::U32(v) => out.extend(v.to_le_bytes()),
        Value::I32(v) => out.extend(v.to_le_bytes()),
        Value::F32(v) => out.extend(v.to_le_bytes()),
        Value::Bool(v) => out.push(u8::from(*v)),
        Value::String(v) => put_string(out, v),
        Value::Array(v) => put_array(out, v),
        Value::U64(v) => out.extend(v.to_le_bytes()),
        Value::I64(v) => out.extend(v.to_le_bytes()),
        Value::F64(v) => out.extend(v.to_le_bytes()),
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    out.extend(array.element_type().id().to_le_bytes());
    out.extend((array.len() as u64).to_le_bytes());
    match array {
        Array::U8(all) => out.extend(all),
        Array::I8(all) => out.extend(all.iter().flat_map(|v| v.to_le_bytes())),
        Array::U16(all) => out.extend(all.iter().flat_map(|v| v.to_le_bytes())),
        Array::I16(all) => out.extend(all.iter().flat_map(|v| v.to_le_bytes())),
        Array::U32(all) => out.extend(all.iter().flat_map(|v| v.to_le_bytes())),
        Array::I32(all) => out.extend(all.iter().flat_map(|v| v.to_le_bytes())),
        Array::F32(all) => out.extend(all.iter().flat_map(|v| v.to_le_bytes())),
        Array::Bool(all) => out.extend(all.iter().map(|v| u8::from(*v))),
        Array::String(all) => all.iter().for_each(|text| put_string(out, text)),
        Array::Array(all) => all.iter().for_each(|inner| put_array(out, inner)),
        Array::U64(all) => out.extend(all.iter().flat_map(|v| v.to_le_bytes())),
        Array::I64(all) => out.extend(all.iter().flat_map(|v| v.to_le_bytes())),
        Array::F64(all) => out.extend(all.iter().flat_map(|v| v.to_le_bytes())),
    }
}
