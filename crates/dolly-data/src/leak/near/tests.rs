use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{Bands, Shingles};

fn brute(a: &[u32], b: &[u32]) -> f64 {
    let set = |words: &[u32]| -> BTreeSet<Vec<u32>> {
        let width = words.len().clamp(1, 5);
        words.windows(width).map(<[u32]>::to_vec).collect()
    };
    let (a, b) = (set(a), set(b));
    a.intersection(&b).count() as f64 / a.union(&b).count().max(1) as f64
}

fn candidates(a: &[u32], b: &[u32], threshold: f64) -> bool {
    let bands = Bands::for_threshold(threshold);
    let (a, b) = (bands.keys(&Shingles::of(a)), bands.keys(&Shingles::of(b)));
    a.iter().any(|key| b.contains(key))
}

proptest! {
    #[test]
    fn similarity_is_the_jaccard_index(
        a in prop::collection::vec(0u32..3, 0..40), b in prop::collection::vec(0u32..3, 0..40),
    ) {
        prop_assert_eq!(Shingles::of(&a).similarity(&Shingles::of(&b)), brute(&a, &b));
    }
}

/// A thousand pairs at or just above each threshold: words in a row, some of them replaced.
#[test]
fn hardly_a_near_pair_is_missed() {
    for (threshold, changed) in [(0.8, 4), (0.6, 9), (0.5, 12), (0.3, 21)] {
        let (mut near, mut found) = (0, 0);
        for case in 0..1000u32 {
            let a: Vec<u32> = (0..200).map(|i| case * 1000 + i).collect();
            let mut b = a.clone();
            for change in 0..changed {
                let at = (case * 31 + change * 197 / changed) % 200;
                b[at as usize] += 500;
            }
            if brute(&a, &b) >= threshold {
                near += 1;
                found += usize::from(candidates(&a, &b, threshold));
            }
        }
        assert!(near > 900, "threshold {threshold}: {near} pairs");
        assert!(
            found + 5 >= near,
            "threshold {threshold}: {found} of {near}"
        );
    }
}

#[test]
fn any_threshold_gives_bands() {
    for threshold in [f64::NAN, -1.0, 0.0, 0.01, 0.99, 1.0, f64::INFINITY] {
        assert!(candidates(&[1, 2, 3], &[1, 2, 3], threshold), "{threshold}");
        assert!(!candidates(&[], &[], threshold));
    }
    assert!(!candidates(&[1, 2, 3], &[1, 2, 4], 0.8));
}
