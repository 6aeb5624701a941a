//! Reads what stands in front of the weights of a GGUF file, metadata and the tensor table, and writes
//! such files.
//!
//! GGUF is the format in which llama.cpp's world ships models. Two crates need it for different
//! reasons: `chat-prompt` wants the vocabulary and the chat template, `smollm-model` the weights.
//! So this is a crate of its own, without tensors: it says *where* the bytes of a tensor are and in
//! what layout, and leaves to others what to do with them.
//!
//! The decision it embodies: **a model file is untrusted input**. Every length is checked against
//! the bytes that are left before anything is allocated for it, every offset before it is used;
//! arithmetic is checked, nesting is bounded, and nothing panics. Errors name the file, the key or
//! tensor, what was found and what was expected. The one `unsafe` line maps the file.
//!
//! Versions 2 and 3, little endian. Shapes are given outermost first (`[out, in]` for a linear
//! layer), as `NumPy` and Hugging Face do, not innermost first as the file stores them.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // The smallest file there is: magic, version, no tensors, one key.
//! let mut bytes = b"GGUF".to_vec();
//! bytes.extend(3u32.to_le_bytes());
//! bytes.extend(0u64.to_le_bytes()); // tensors
//! bytes.extend(1u64.to_le_bytes()); // metadata entries
//! bytes.extend(20u64.to_le_bytes());
//! bytes.extend(b"general.architecture");
//! bytes.extend(8u32.to_le_bytes()); // a string
//! bytes.extend(5u64.to_le_bytes());
//! bytes.extend(b"llama");
//!
//! let header = gguf::Header::parse(&bytes)?;
//! assert_eq!(header.str("general.architecture")?, "llama");
//!
//! let error = header.u32("llama.block_count").unwrap_err();
//! assert_eq!(error.to_string(), "key `llama.block_count` is missing, expected a value of type u32");
//! # Ok(())
//! # }
//! ```
#![deny(unsafe_code)]

mod array;
mod cursor;
mod error;
mod file;
mod getters;
mod header;
mod overlap;
mod types;
mod value;
mod value_type;
mod writer;

pub use error::{GgufError, Problem};
pub use file::GgufFile;
pub use header::{Header, TensorInfo};
pub use types::GgmlType;
pub use value::{Array, Value};
pub use writer::GgufWriter;
