//! The permutation is NumPy's.

use std::collections::BTreeSet;

use dolly_data::permutation;
use proptest::prelude::*;
use serde_json::Value;

#[test]
fn orders_are_numpys() {
    let text = std::fs::read_to_string(crate::ours("golden/permutations.json")).unwrap();
    let golden: Value = serde_json::from_str(&text).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() > 100);
    for case in cases {
        let seed: u64 = case["seed"].as_str().unwrap().parse().unwrap();
        let n = case["n"].as_u64().unwrap() as usize;
        let order = permutation(seed, n);
        let first: Vec<usize> = serde_json::from_value(case["first"].clone()).unwrap();
        assert_eq!(order[..first.len()], first, "seed {seed}, n {n}");
        assert_eq!(
            fingerprint(&order),
            case["fingerprint"].as_str().unwrap(),
            "seed {seed}, n {n}"
        );
    }
}

/// A polynomial in the items modulo 2^61 - 1, as `golden/make_permutations.py` takes it.
fn fingerprint(order: &[usize]) -> String {
    const PRIME: u128 = (1 << 61) - 1;
    let mut sum = 0u128;
    for &item in order {
        sum = (sum * 1_000_003 + item as u128 + 1) % PRIME;
    }
    sum.to_string()
}

proptest! {
    #[test]
    fn every_index_occurs_once(seed: u64, n in 0usize..3000) {
        let order = permutation(seed, n);
        prop_assert_eq!(order.len(), n);
        prop_assert_eq!(order.into_iter().collect::<BTreeSet<_>>(), (0..n).collect());
    }
}
