//! Each kind of damage gives an error that names the place, what was found and what was expected.

use std::fs;

use gguf::{GgufFile, Header};

use crate::build::{Builder, string};

fn open(bytes: &[u8]) -> Result<GgufFile, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    fs::write(&path, bytes).unwrap();
    GgufFile::open(&path).map_err(|e| {
        assert_eq!(e.path(), Some(path.as_path()));
        e.to_string().replace(&path.display().to_string(), "PATH")
    })
}

#[test]
fn missing_and_empty_files() {
    let missing = GgufFile::open("no/such.gguf").unwrap_err().to_string();
    assert!(
        missing.starts_with("no/such.gguf: cannot read the file: No such file"),
        "{missing}"
    );
    assert_eq!(
        open(b"").unwrap_err(),
        "PATH: not a GGUF file: it starts with [], expected the bytes of \"GGUF\""
    );
}

#[test]
fn other_formats_and_versions() {
    assert!(
        open(b"PK\x03\x04....")
            .unwrap_err()
            .contains("[50, 4b, 03, 04]")
    );
    let mut builder = Builder::new();
    builder.version = 4;
    assert_eq!(
        builder.error(),
        "GGUF version 4 is not supported, expected 2 or 3"
    );
    builder.version = 1;
    assert!(builder.error().contains("version 1 was replaced"));
    builder.version = 3u32.swap_bytes();
    assert!(builder.error().contains("big-endian"));
    builder.version = 2;
    assert_eq!(Header::parse(&builder.bytes()).unwrap().version(), 2);
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = Builder::new()
        .str("general.name", "x")
        .raw(
            "list",
            9,
            &[
                &4u32.to_le_bytes()[..],
                &1u64.to_le_bytes(),
                &7u32.to_le_bytes(),
            ]
            .concat(),
        )
        .tensor("w", &[32], 8, 0)
        .data(34)
        .bytes();
    open(&bytes).unwrap();
    for end in 0..bytes.len() {
        open(&bytes[..end]).expect_err(&format!("cut at {end}"));
    }
    let cut = open(&bytes[..bytes.len() - 1]).unwrap_err();
    assert_eq!(
        cut,
        "PATH: tensor `w` needs bytes 128 to 162, the file has 161; it is truncated: get it again"
    );
}

#[test]
fn lengths_beyond_the_file() {
    let text = Builder::new().raw("k", 8, &u64::MAX.to_le_bytes()).error();
    assert!(text.contains("the value of key `k` at byte"), "{text}");
    let list = [&5u32.to_le_bytes()[..], &(1u64 << 60).to_le_bytes()].concat();
    let text = Builder::new().raw("tokens", 9, &list).error();
    assert!(
        text.contains("the value of key `tokens`") && text.contains("4611686018427387904 bytes")
    );
    let mut bytes = Builder::new().bytes();
    bytes[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(
        Header::parse(&bytes)
            .unwrap_err()
            .to_string()
            .contains("truncated")
    );
}

#[test]
fn bad_values() {
    let text = Builder::new().raw("k", 99, &[]).error();
    assert_eq!(
        text,
        "the value of key `k` has value type 99, expected 0 to 12"
    );
    let text = Builder::new().raw("k", 8, &string(b"ab\xff")).error();
    assert!(text.contains("`k`") && text.contains("UTF-8"), "{text}");
    let one_array = [9u32.to_le_bytes().to_vec(), 1u64.to_le_bytes().to_vec()].concat();
    let text = Builder::new().raw("k", 9, &one_array.repeat(1000)).error();
    assert_eq!(
        text,
        "the value of key `k` nests arrays deeper than 4 levels"
    );
    let text = Builder::new().u32("k", 1).u32("k", 2).error();
    assert_eq!(text, "key `k` occurs twice");
    for alignment in [0, 1, 2, 3, 4, 48, u32::MAX] {
        let text = Builder::new().u32("general.alignment", alignment).error();
        assert!(
            text.ends_with("expected a power of two from 8 to 1048576"),
            "{text}"
        );
    }
}

#[test]
fn bad_tensors() {
    let text = Builder::new().tensor("w", &[32], 77, 0).error();
    assert!(
        text.starts_with("tensor `w` has unknown type id 77; known are F32, F16"),
        "{text}"
    );
    let text = Builder::new().tensor("w", &[31, 2], 8, 0).error();
    assert!(
        text.ends_with("rows of 31 elements do not divide into Q8_0 blocks of 32"),
        "{text}"
    );
    let text = Builder::new()
        .tensor("w", &[1 << 40, 1 << 40], 0, 0)
        .error();
    assert!(
        text.ends_with("more elements than memory can address"),
        "{text}"
    );
    let text = Builder::new().tensor("w", &[1; 5], 0, 0).error();
    assert!(text.contains("5 dimensions, expected at most 4"), "{text}");
    let text = Builder::new().tensor("w", &[1], 0, 5).error();
    assert_eq!(
        text,
        "tensor `w` starts at data offset 5, expected a multiple of 32"
    );
    let text = Builder::new().tensor("w", &[1], 0, u64::MAX - 31).error();
    assert!(text.contains("tensor `w`"), "{text}");
    let text = Builder::new()
        .tensor("w", &[1], 0, 0)
        .tensor("w", &[1], 0, 32)
        .error();
    assert_eq!(text, "tensor `w` occurs twice");
}

#[test]
fn tensors_that_share_bytes() {
    let aligned = || Builder::new().u32("general.alignment", 8);
    let text = aligned()
        .tensor("a", &[4], 0, 0)
        .tensor("b", &[4], 0, 8)
        .error();
    assert_eq!(
        text,
        "tensor `b` starts at byte 136, inside tensor `a`, which ends at byte 144; tensors must not \
         overlap"
    );
    // In the file's order or not, over several tensors or one, all of it or a byte.
    let text = aligned()
        .tensor("late", &[1], 0, 32)
        .tensor("wide", &[64], 0, 0)
        .error();
    assert!(
        text.contains("`late`") && text.contains("inside tensor `wide`"),
        "{text}"
    );
    let text = aligned()
        .tensor("a", &[8], 24, 0)
        .tensor("b", &[9], 24, 8)
        .tensor("c", &[1], 24, 16)
        .error();
    assert!(
        text.contains("tensor `c` starts") && text.contains("`b`"),
        "{text}"
    );
    // Side by side, with a gap, or without bytes at all is well.
    let bytes = aligned()
        .tensor("a", &[2], 0, 0)
        .tensor("b", &[2], 0, 8)
        .tensor("c", &[2], 0, 32)
        .tensor("empty", &[2, 0], 0, 0)
        .tensor("also", &[0], 0, 0)
        .bytes();
    assert_eq!(Header::parse(&bytes).unwrap().tensors().len(), 5);
}

#[test]
fn what_is_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let text = GgufFile::open(dir.path()).unwrap_err().to_string();
    assert!(
        text.ends_with("cannot read the file: it is not a regular file"),
        "{text}"
    );
}

#[test]
fn getters_say_what_they_found() {
    let bytes = Builder::new()
        .u32("n", 7)
        .str("name", "x")
        .raw("big", 10, &[255; 8])
        .bytes();
    let header = Header::parse(&bytes).unwrap();
    assert_eq!(header.u32("n").unwrap(), 7);
    assert_eq!(header.u64("n").unwrap(), 7);
    assert_eq!(header.opt_str("absent").unwrap(), None);
    let text = |e: gguf::GgufError| e.to_string();
    assert_eq!(
        text(header.u32("name").unwrap_err()),
        "key `name` has type string, expected u32"
    );
    assert_eq!(
        text(header.opt_u32("big").unwrap_err()),
        "key `big` has type u64 (18446744073709551615), expected u32"
    );
    assert_eq!(
        text(header.str_array("absent").unwrap_err()),
        "key `absent` is missing, expected a value of type array of string"
    );
}
