//! Letters, white space and lower case of every code point are Python's (`tests/golden/unicode.py`).

use serde_json::Value;
use textmetrics::unicode::{is_space, is_word, lower};

#[test]
fn every_code_point() {
    let golden: Value = serde_json::from_str(include_str!("../golden/unicode.json")).unwrap();
    let blocks = golden["blocks"].as_array().unwrap();
    assert_eq!(blocks.len(), 0x0011_0000 / 4096);
    let mut words = 0;
    for (number, want) in (0u32..).zip(blocks) {
        let start = number * 4096;
        let mut digest = 0xCBF2_9CE4_8422_2325_u64;
        for c in (start..start + 4096).filter_map(char::from_u32) {
            let (word, space) = (is_word(c), is_space(c));
            words += u64::from(word);
            let kind = u8::from(word) | u8::from(space) << 1;
            for byte in std::iter::once(kind).chain(lower(&c.to_string()).bytes()) {
                digest = (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
            }
        }
        assert_eq!(
            format!("{digest:016x}"),
            want.as_str().unwrap(),
            "from {start:#x}"
        );
    }
    assert_eq!(words, golden["words"].as_u64().unwrap());
}
