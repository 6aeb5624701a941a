//! Against a file written by llama.cpp's own Python package (`tests/golden/make_gguf.py`).

use gguf::{Array, GgmlType, GgufFile, Value};

fn golden() -> GgufFile {
    GgufFile::open(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden/small.gguf"
    ))
    .unwrap()
}

#[test]
fn metadata() {
    let file = golden();
    assert_eq!(file.str("general.architecture").unwrap(), "llama");
    let m = file.metadata();
    assert_eq!(m["t.u8"], Value::U8(200));
    assert_eq!(m["t.i8"], Value::I8(-5));
    assert_eq!(m["t.u16"], Value::U16(60000));
    assert_eq!(m["t.i16"], Value::I16(-30000));
    assert_eq!(m["t.u32"], Value::U32(4_000_000_000));
    assert_eq!(m["t.i32"], Value::I32(-2_000_000_000));
    assert_eq!(m["t.f32"], Value::F32(0.1));
    assert_eq!(m["t.bool"], Value::Bool(true));
    assert_eq!(m["t.string"], Value::String("naïve 🦙".into()));
    assert_eq!(m["t.u64"], Value::U64(1 << 63));
    assert_eq!(m["t.i64"], Value::I64(-(1 << 62)));
    assert_eq!(m["t.f64"], Value::F64(1e300));
    assert_eq!(file.str_array("t.strings").unwrap(), ["a", "", "ü"]);
    assert_eq!(file.i32_array("t.i32s").unwrap(), [1, -2, 3]);
    assert_eq!(m["t.f32s"], Value::Array(Array::F32(vec![0.5, -1.25])));
}

#[test]
fn tensors() {
    let file = golden();
    let expected: serde_json::Value =
        serde_json::from_str(include_str!("../golden/small.json")).unwrap();
    let expected = expected["tensors"].as_array().unwrap();
    assert_eq!(file.tensors().len(), expected.len());
    for (tensor, want) in file.tensors().iter().zip(expected) {
        assert_eq!(tensor.name, want["name"]);
        assert_eq!(tensor.ggml_type.name(), want["type"]);
        assert_eq!(
            serde_json::json!(tensor.shape),
            want["shape"],
            "{}",
            tensor.name
        );
        assert_eq!(
            serde_json::json!(tensor.offset),
            want["offset"],
            "{}",
            tensor.name
        );
        assert_eq!(
            serde_json::json!(tensor.n_bytes),
            want["n_bytes"],
            "{}",
            tensor.name
        );
        let sum: u64 = file
            .tensor_bytes(tensor)
            .unwrap()
            .iter()
            .map(|&b| u64::from(b))
            .sum();
        assert_eq!(serde_json::json!(sum), want["byte_sum"], "{}", tensor.name);
        assert_eq!(file.tensor(&tensor.name), Some(tensor));
    }
}

#[test]
fn type_ids_round_trip() {
    for &t in GgmlType::ALL {
        assert_eq!(GgmlType::from_id(t.id()), Some(t));
    }
    assert_eq!(GgmlType::from_id(4), None, "Q4_2 was removed from ggml");
}

#[test]
fn a_tensor_of_another_file_is_refused() {
    let file = golden();
    let mut tensor = file.tensors()[0].clone();
    tensor.offset = usize::MAX - 1;
    let text = file.tensor_bytes(&tensor).unwrap_err().to_string();
    assert!(text.contains("the file has"), "{text}");
}
