//! Whatever the bytes, the answer is a header or an error.

use gguf::Header;
use proptest::prelude::*;

const SMALL: &[u8] = include_bytes!("../golden/small.gguf");

/// Walks everything a caller could ask of a header.
fn walk(bytes: &[u8]) {
    match Header::parse(bytes) {
        Ok(header) => {
            for (key, value) in header.metadata() {
                let _ = (
                    header.opt_u32(key),
                    header.opt_str(key),
                    header.opt_i32_array(key),
                );
                let _ = (value.to_string(), value.type_name());
            }
            for tensor in header.tensors() {
                assert!(header.tensor(&tensor.name).is_some());
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        walk(&bytes);
        walk(&[b"GGUF\x03\0\0\0", &bytes[..]].concat());
    }

    #[test]
    fn random_entries(counts in any::<[u8; 2]>(), bytes in prop::collection::vec(0u8..14, 0..300)) {
        let counts = [[counts[0] % 4, 0, 0, 0, 0, 0, 0, 0], [counts[1] % 4, 0, 0, 0, 0, 0, 0, 0]];
        walk(&[b"GGUF\x03\0\0\0", &counts.concat()[..], &bytes].concat());
    }

    #[test]
    fn truncated(end in 0..SMALL.len()) {
        walk(&SMALL[..end]);
    }

    #[test]
    fn mutated(changes in prop::collection::vec((0..1200usize, any::<u8>()), 1..8)) {
        let mut bytes = SMALL.to_vec();
        for (at, to) in changes {
            bytes[at] = to;
        }
        walk(&bytes);
    }

    #[test]
    fn huge_lengths(at in 8..1200usize, value in any::<u64>()) {
        let mut bytes = SMALL.to_vec();
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        walk(&bytes);
    }
}
