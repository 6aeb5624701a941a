//! Any bytes: a header or an error, never a panic; and what a header says holds: names once, each
//! tensor found by its name, no byte in two tensors.
//! `cargo +nightly fuzz run header` in `crates/gguf`.
#![no_main]

use gguf::Header;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let header = match Header::parse(bytes) {
        Ok(header) => header,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    for (key, value) in header.metadata() {
        let _ = (
            header.opt_u32(key),
            header.opt_f32(key),
            header.opt_str(key),
        );
        let _ = (header.opt_str_array(key), header.opt_i32_array(key));
        let _ = (value.to_string(), value.type_name());
    }
    let mut used = Vec::new();
    for tensor in header.tensors() {
        assert_eq!(header.tensor(&tensor.name), Some(tensor));
        if tensor.n_bytes > 0 {
            used.push(tensor.offset..tensor.offset.saturating_add(tensor.n_bytes));
        }
    }
    used.sort_by_key(|range| range.start);
    assert!(used.windows(2).all(|pair| pair[0].end <= pair[1].start));
});
