//! Each way that a header can lie is refused by the name of the tensor.

use super::{check_file, check_safetensors};

fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn refused(header: &str, data: usize) -> String {
    check_safetensors(&file(header, data)).unwrap_err()
}

fn entry(name: &str, dtype: &str, shape: &str, range: [u64; 2]) -> String {
    let [start, end] = range;
    format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}"#)
}

fn table(entries: &[String]) -> String {
    format!("{{{}}}", entries.join(","))
}

#[test]
fn whole_files_pass() {
    let a = entry("a", "F32", "[2,2]", [0, 16]);
    let b = entry("b", "BF16", "[]", [16, 18]);
    let empty = entry("c", "F32", "[0,7]", [16, 16]);
    let metadata = r#""__metadata__":{"format":"pt"}"#.to_owned();
    check_safetensors(&file(&table(&[metadata, b, a, empty]), 18)).unwrap();
    check_safetensors(&file("{}", 0)).unwrap();
    check_safetensors(&file(r#"{"__metadata__":null}   "#, 0)).unwrap();
}

#[test]
fn lengths() {
    let short = check_safetensors(b"\x01\0\0").unwrap_err();
    assert!(short.contains("it has 3 bytes"), "{short}");
    for claim in [3, 100, u64::MAX, u64::MAX - 8] {
        let mut bytes = file("{}", 0);
        bytes[..8].copy_from_slice(&claim.to_le_bytes());
        let message = check_safetensors(&bytes).unwrap_err();
        assert!(
            message.contains(&format!("claims {claim} bytes, at most 2")),
            "{message}"
        );
    }
}

#[test]
fn ranges_and_sizes() {
    let one = |dtype, shape, range| refused(&table(&[entry("w", dtype, shape, range)]), 16);
    let message = one("F32", "[5]", [0, 20]);
    assert_eq!(
        message,
        "tensor `w` is at bytes 0 to 20 of the data, which has 16"
    );
    assert!(one("F32", "[4]", [16, 0]).contains("`w` is at bytes 16 to 0"));
    assert!(one("F32", "[4]", [u64::MAX - 3, u64::MAX]).contains("`w`"));
    let message = one("F32", "[3]", [0, 16]);
    assert_eq!(
        message,
        "tensor `w` of type F32 and shape [3] is said to take 16 bytes"
    );
    for shape in [
        "[4294967296,4294967296]",
        "[9223372036854775808,2]",
        "[2305843009213693952]",
    ] {
        assert!(one("F32", shape, [0, 16]).contains("tensor `w`"), "{shape}");
    }
    assert!(one("F5", "[4]", [0, 16]).contains("tensor `w`: unknown variant `F5`"));
    for shape in [
        "[-1]",
        "[1.5]",
        "[18446744073709551616]",
        "7",
        "[1,1,1,1,1,1,1,1,4]",
    ] {
        assert!(
            one("F32", shape, [0, 16]).contains("tensor `w`:"),
            "{shape}"
        );
    }
}

#[test]
fn names_and_places_that_occur_twice() {
    let a = entry("a", "F32", "[2]", [0, 8]);
    let message = refused(&table(&[a.clone(), entry("a", "F32", "[2]", [8, 16])]), 16);
    assert_eq!(message, "tensor `a` occurs twice");
    let message = refused(&table(&[entry("b", "F32", "[2]", [4, 12]), a.clone()]), 16);
    assert_eq!(
        message,
        "tensor `b` starts at byte 4 of the data, inside tensor `a`, which ends at byte 8"
    );
    assert!(
        refused(&table(&[a, entry("b", "F32", "[2]", [0, 8])]), 8).contains("inside tensor `a`")
    );
}

/// Nothing that the format has no place for is read, however deep or long.
#[test]
fn other_json() {
    let ones = "1,".repeat(1 << 20);
    for header in [
        String::new(),
        "[]".to_owned(),
        "{".to_owned(),
        "\u{feff}{}".to_owned(),
        "[".repeat(1 << 16),
        format!(r#"{{"w":{}"#, "[".repeat(1 << 16)),
        format!(r#"{{"__metadata__":{{"x":[{ones}1]}}}}"#),
        r#"{"__metadata__":7}"#.to_owned(),
        r#"{"w":{"dtype":"F32","shape":[1]}}"#.to_owned(),
        r#"{"w":{"dtype":"F32","shape":[0],"data_offsets":[0,0],"more":[1]}}"#.to_owned(),
        r#"{"w":{"dtype":"F32","shape":[0],"data_offsets":[0,0,0]}}"#.to_owned(),
    ] {
        let message = refused(&header, 4);
        assert!(
            message.starts_with("its header is no table of tensors"),
            "{message}"
        );
        assert!(message.len() < 200, "{message}");
    }
    let mut bytes = file(&table(&[entry("w", "U8", "[1]", [0, 1])]), 1);
    bytes[10] = 0xff;
    check_safetensors(&bytes).unwrap_err();
}

#[test]
fn what_is_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let message = check_file(dir.path()).unwrap_err().to_string();
    assert!(message.contains("it is not a regular file"), "{message}");
    let message = check_file(&dir.path().join("none"))
        .unwrap_err()
        .to_string();
    assert!(message.contains("cannot read"), "{message}");
}
