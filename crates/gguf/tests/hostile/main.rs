//! Files made to harm: a header or an error, and no more memory than the file's size explains.
//!
//! A binary of its own, since it counts what the process allocates.

#![allow(clippy::unwrap_used, reason = "a failed test is a panic")]

mod mutate;
mod peak;

use std::sync::LazyLock;

use gguf::Header;
use proptest::prelude::*;

use mutate::Victim;

const Q8_0: &[u8] = include_bytes!("../../../../fixtures/tiny-model-q8_0.gguf");
const Q4_0: &[u8] = include_bytes!("../../../../fixtures/tiny-model-q4_0.gguf");

/// A header of many small things takes at most this many times its bytes.
const FACTOR: usize = 10;
/// What any file may take: error messages and the like.
const BASE: usize = 1 << 14;

/// Parses, asks everything there is to ask, and checks the memory that it took.
fn parse(bytes: &[u8]) -> Result<Header, String> {
    let (result, most) = peak::of(|| Header::parse(bytes).map_err(|e| e.to_string()));
    let allowed = BASE + FACTOR * bytes.len();
    assert!(
        most <= allowed,
        "{most} bytes for a file of {}",
        bytes.len()
    );
    let header = result?;
    for (key, value) in header.metadata() {
        let _ = (
            header.opt_u64(key),
            header.opt_str_array(key),
            value.to_string(),
        );
    }
    let mut used: Vec<_> = header
        .tensors()
        .iter()
        .filter(|t| t.n_bytes > 0)
        .map(|t| t.offset..t.offset.saturating_add(t.n_bytes))
        .collect();
    used.sort_by_key(|range| range.start);
    assert!(used.windows(2).all(|pair| pair[0].end <= pair[1].start));
    Ok(header)
}

static VICTIMS: LazyLock<[Victim<'static>; 2]> =
    LazyLock::new(|| [victim(Q8_0, Q4_0), victim(Q4_0, Q8_0)]);

fn victim(bytes: &'static [u8], donor: &'static [u8]) -> Victim<'static> {
    let header = Header::parse(bytes).unwrap();
    let keys = header.metadata().keys().map(String::as_str);
    let tensors = header.tensors().iter().map(|t| t.name.as_str());
    let end = header.data_offset();
    Victim::new(bytes, end, keys.chain(tensors), vec![donor])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files(seed in any::<u64>()) {
        let _turn = peak::turn();
        for victim in &*VICTIMS {
            let _ = parse(&victim.damaged(seed));
        }
    }
}

/// A header with these counts of tensors and of metadata entries, followed by `body`.
fn header(tensors: u64, entries: u64, body: &[u8]) -> Vec<u8> {
    let counts = [tensors.to_le_bytes(), entries.to_le_bytes()].concat();
    [&b"GGUF\x03\0\0\0"[..], &counts, body].concat()
}

fn name(i: u64) -> Vec<u8> {
    let digits = format!("{i:x}");
    [&(digits.len() as u64).to_le_bytes(), digits.as_bytes()].concat()
}

/// One key `0` with an array that claims `len` elements of `kind`.
fn array(kind: u32, len: u64, elements: &[u8]) -> Vec<u8> {
    let parts = [
        &name(0),
        &9u32.to_le_bytes()[..],
        &kind.to_le_bytes(),
        &len.to_le_bytes(),
        elements,
    ];
    header(0, 1, &parts.concat())
}

/// The smallest things of each kind, as many as fit: where memory outgrows the file most.
#[test]
fn many_small_things() {
    let _turn = peak::turn();
    let n = 100_000;
    let entries = (0..n).flat_map(|i| [name(i), vec![0; 5]].concat());
    parse(&header(0, n, &entries.collect::<Vec<_>>())).unwrap();
    let tensors = (0..n).flat_map(|i| {
        let rank_and_type = [0u32.to_le_bytes(), 24u32.to_le_bytes()].concat();
        [name(i), rank_and_type, (i * 32).to_le_bytes().to_vec()].concat()
    });
    parse(&header(n, 0, &tensors.collect::<Vec<_>>())).unwrap();
    parse(&array(8, n, &vec![0; n as usize * 8])).unwrap();
    parse(&array(9, n, &vec![0; n as usize * 12])).unwrap();
}

/// Counts that the file could just hold, were it all of the smallest kind, and does not.
#[test]
fn counts_without_contents() {
    let _turn = peak::turn();
    let filler = vec![0xff; 1 << 20];
    for divisor in [1, 8, 12, 13, 24] {
        let n = (filler.len() / divisor) as u64;
        for bytes in [header(n, 0, &filler), header(0, n, &filler)] {
            parse(&bytes).unwrap_err();
        }
        for kind in 0..14 {
            let _ = parse(&array(kind, n, &filler));
        }
    }
}

/// Arrays of arrays, wide and deep: each level claims everything that is left.
#[test]
fn nested_arrays() {
    let _turn = peak::turn();
    let total: u64 = 1 << 20;
    let mut levels = Vec::new();
    for depth in 0..64u64 {
        let left = total - (depth + 1) * 12;
        levels.extend(9u32.to_le_bytes());
        levels.extend((left / 12).to_le_bytes());
    }
    levels.resize(total as usize, 0);
    let text = parse(&array(9, total / 12, &levels)).unwrap_err();
    assert!(text.contains("nests arrays deeper than 4 levels"), "{text}");
    // Broad at the last level that is allowed.
    let mut broad = Vec::new();
    for _ in 0..2 {
        broad.extend(9u32.to_le_bytes());
        broad.extend(1u64.to_le_bytes());
    }
    broad.extend(9u32.to_le_bytes());
    broad.extend(10_000u64.to_le_bytes());
    broad.extend(vec![0; 120_000]);
    let text = parse(&array(9, 1, &broad)).unwrap_err();
    assert!(text.contains("nests"), "{text}");
}
