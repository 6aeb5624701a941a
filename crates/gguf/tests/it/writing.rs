//! What is written is what llama.cpp's own package writes, and what the reader reads.

use std::io;

use gguf::{Array, GgmlType, GgufFile, GgufWriter, Header, Value};
use proptest::prelude::*;

/// `small.gguf`'s keys in the order of its script.
const KEYS: [&str; 16] = [
    "general.architecture",
    "t.u8",
    "t.i8",
    "t.u16",
    "t.i16",
    "t.u32",
    "t.i32",
    "t.f32",
    "t.bool",
    "t.string",
    "t.u64",
    "t.i64",
    "t.f64",
    "t.strings",
    "t.i32s",
    "t.f32s",
];

#[test]
fn a_file_written_again_has_the_same_bytes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/small.gguf");
    let file = GgufFile::open(path).unwrap();
    let mut writer = GgufWriter::new();
    assert_eq!(file.metadata().len(), KEYS.len());
    for key in KEYS {
        writer.set(key, file.metadata()[key].clone()).unwrap();
    }
    for tensor in file.tensors() {
        let (name, shape) = (&tensor.name, &tensor.shape);
        writer.tensor(name, shape, tensor.ggml_type).unwrap();
    }
    let mut bytes = Vec::new();
    writer
        .write(&mut bytes, |name| {
            file.tensor_bytes(file.tensor(name).unwrap())
                .map_err(io::Error::other)
        })
        .unwrap();
    assert_eq!(bytes, std::fs::read(path).unwrap());
}

fn written(writer: &GgufWriter) -> Vec<u8> {
    let mut bytes = Vec::new();
    let nothing = |_: &str| Ok(Vec::<u8>::new());
    writer.write(&mut bytes, nothing).unwrap();
    bytes
}

#[test]
fn an_alignment_of_its_own_holds() {
    let mut writer = GgufWriter::new();
    writer.set("general.alignment", 64u32).unwrap();
    writer.tensor("a", &[3], GgmlType::I8).unwrap();
    writer.tensor("b", &[3], GgmlType::I8).unwrap();
    let mut bytes = Vec::new();
    writer.write(&mut bytes, |_| Ok(vec![7, 8, 9])).unwrap();
    let header = Header::parse(&bytes).unwrap();
    let offsets: Vec<_> = header.tensors().iter().map(|t| t.offset % 64).collect();
    assert_eq!(offsets, [0, 0]);
    assert_eq!(header.tensors()[1].offset - header.tensors()[0].offset, 64);
    let error = GgufWriter::new().set("general.alignment", 12u32);
    assert!(error.unwrap_err().to_string().contains("power of two"));
}

#[test]
fn what_cannot_be_is_refused() {
    let mut writer = GgufWriter::new();
    writer.set("k", 1u32).unwrap();
    writer.tensor("t", &[2, 32], GgmlType::Q8_0).unwrap();
    let refused = [
        (writer.clone().set("k", true), "key `k` occurs twice"),
        (
            writer.clone().tensor("t", &[1], GgmlType::F32),
            "tensor `t` occurs twice",
        ),
        (
            writer.clone().tensor("u", &[32, 3], GgmlType::Q8_0),
            "do not divide into Q8_0 blocks of 32",
        ),
        (
            writer.clone().tensor("u", &[1; 5], GgmlType::F32),
            "5 dimensions, expected at most 4",
        ),
        (
            writer.clone().tensor("u", &[usize::MAX, 2], GgmlType::F32),
            "more elements",
        ),
        (
            writer.clone().tensor("u", &[usize::MAX], GgmlType::I8),
            "behind the largest offset",
        ),
        (
            writer.clone().set("general.alignment", Value::U64(1 << 63)),
            "from 8 to 1048576",
        ),
    ];
    for (result, expected) in refused {
        let text = result.unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    }
    let short = writer.write(&mut Vec::new(), |_| Ok(vec![0u8; 67]));
    let text = short.unwrap_err().to_string();
    assert_eq!(text, "tensor `t` was given 67 bytes, its type needs 68");
}

fn values() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u8>().prop_map(Value::U8),
        any::<i16>().prop_map(Value::I16),
        any::<i64>().prop_map(Value::I64),
        any::<bool>().prop_map(Value::Bool),
        ".{0,9}".prop_map(Value::String),
        prop::collection::vec(".{0,5}", 0..4).prop_map(Value::from),
        prop::collection::vec(any::<bool>(), 0..4).prop_map(|v| Value::Array(Array::Bool(v))),
        prop::collection::vec(any::<u16>(), 0..4).prop_map(|v| {
            let inner = vec![Array::U16(v.clone()), Array::U16(v), Array::F64(vec![0.5])];
            Value::Array(Array::Array(inner))
        }),
    ]
}

proptest! {
    #[test]
    fn metadata_comes_back(entries in prop::collection::btree_map("[a-z.]{1,12}", values(), 0..8)) {
        let mut writer = GgufWriter::new();
        for (key, value) in &entries {
            writer.set(key, value.clone()).unwrap();
        }
        let header = Header::parse(&written(&writer)).unwrap();
        prop_assert_eq!(header.metadata(), &entries);
    }
}
