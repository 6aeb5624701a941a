//! The sign-flip permutation test of a mean difference.
//!
//! If the two systems were interchangeable, each row's difference could as well have had the other sign. So the p-value
//! is the share of all sign patterns whose sum is at least as far from zero as the one seen. Rows without a difference
//! change nothing and are left out. Up to [`EXACT_LIMIT`] changed rows all patterns are counted, by meeting in the
//! middle: the sums of each half are sorted, and pairs above the threshold counted with two pointers. Beyond, seeded
//! random patterns give `(c + 1) / (B + 1)` (Phipson and Smyth 2010: never 0, and valid).

use super::error::{StatsError, all_finite};
use super::rng::Rng;

/// Changed rows up to which every sign pattern is counted (`2^30` patterns as two sorted lists of `2^15`).
pub const EXACT_LIMIT: usize = 30;

/// Result of [`sign_flip`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SignFlip {
    /// Two-sided p-value.
    pub p: f64,
    /// All patterns were counted, so `p` has no Monte Carlo error.
    pub exact: bool,
    /// Rows with a difference other than zero.
    pub changed: usize,
}

/// Two-sided sign-flip test of "the differences are symmetric around zero". `resamples` and `seed` matter only above
/// [`EXACT_LIMIT`] changed rows. Sums that agree to a part in 10¹² of the total count as ties, and ties count as "at
/// least as extreme". No changed row at all: p = 1.
///
/// # Errors
/// A difference that is not finite; `resamples` of 0 where they are needed.
pub fn sign_flip(differences: &[f64], resamples: usize, seed: u64) -> Result<SignFlip, StatsError> {
    all_finite("sign-flip test", differences)?;
    let sizes: Vec<f64> = differences
        .iter()
        .filter(|d| **d != 0.0)
        .map(|d| d.abs())
        .collect();
    let total: f64 = sizes.iter().sum();
    let threshold = differences.iter().sum::<f64>().abs() - 1e-12 * total;
    let changed = sizes.len();
    let exact = changed <= EXACT_LIMIT;
    if threshold <= 0.0 {
        return Ok(SignFlip {
            p: 1.0,
            exact,
            changed,
        });
    }
    if !exact && resamples == 0 {
        return Err(StatsError::BadParameter {
            name: "resamples",
            value: 0.0,
            expected: "at least 1",
        });
    }
    let p = if exact {
        count_all(&sizes, threshold)
    } else {
        sample(&sizes, threshold, resamples, seed)
    };
    Ok(SignFlip { p, exact, changed })
}

/// Share of all sign patterns with `|sum| >= threshold > 0`. Patterns come in mirrored pairs, so the upper tail doubles.
fn count_all(sizes: &[f64], threshold: f64) -> f64 {
    let (left, right) = sizes.split_at(sizes.len() / 2);
    let (left, right) = (sorted_sums(left), sorted_sums(right));
    let mut upper = 0_u64;
    let mut first = right.len(); // the first sum on the right that is enough for the current one on the left
    for &l in &left {
        while first > 0 && l + right[first - 1] >= threshold {
            first -= 1;
        }
        upper += (right.len() - first) as u64;
    }
    2.0 * upper as f64 / (left.len() as f64 * right.len() as f64)
}

/// The `2^k` signed sums of `k` sizes, ascending.
fn sorted_sums(sizes: &[f64]) -> Vec<f64> {
    let mut sums = vec![0.0];
    for size in sizes {
        let plus: Vec<f64> = sums.iter().map(|s| s + size).collect();
        for sum in &mut sums {
            *sum -= size;
        }
        sums.extend(plus);
    }
    sums.sort_by(f64::total_cmp);
    sums
}

/// Monte Carlo p-value. Four rows share a table of their 16 signed sums, so a pattern costs one look-up for four rows.
fn sample(sizes: &[f64], threshold: f64, resamples: usize, seed: u64) -> f64 {
    let tables: Vec<[f64; 16]> = sizes
        .chunks(4)
        .map(|four| {
            std::array::from_fn(|bits| {
                four.iter()
                    .enumerate()
                    .map(|(i, s)| if bits >> i & 1 == 1 { *s } else { -*s })
                    .sum()
            })
        })
        .collect();
    let mut rng = Rng::new(seed);
    let mut extreme = 0_u64;
    for _ in 0..resamples {
        let mut sum = 0.0;
        for word_of_tables in tables.chunks(16) {
            let mut bits = rng.next();
            for table in word_of_tables {
                sum += table[(bits & 15) as usize];
                bits >>= 4;
            }
        }
        extreme += u64::from(sum.abs() >= threshold);
    }
    (extreme + 1) as f64 / (resamples + 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(differences: &[f64]) -> f64 {
        sign_flip(differences, 10_000, 1).expect("valid").p
    }

    #[test]
    fn few_rows() {
        assert_eq!(p(&[]), 1.0);
        assert_eq!(p(&[0.0, 0.0]), 1.0);
        assert_eq!(p(&[0.3]), 1.0);
        assert_eq!(p(&[0.3, 0.3]), 0.5);
        assert_eq!(p(&[0.1, 0.2, 0.3, 0.0]), 0.25);
    }

    #[test]
    fn ties_that_rounding_hides_still_count() {
        // 0.1 + 0.2 − 0.3 is 5.6e-17 in floating point, and the same total by two routes is one tie.
        assert_eq!(p(&[0.1, 0.2, -0.3]), 1.0);
        let five_up = [0.1; 5];
        assert_eq!(p(&five_up), 0.0625);
    }

    #[test]
    fn sampling_agrees_with_counting() {
        let sizes: Vec<f64> = (0..24).map(|i| 0.05 + f64::from(i % 7) * 0.03).collect();
        let exact = count_all(&sizes, 1.1);
        let sampled = sample(&sizes, 1.1, 200_000, 3);
        assert!((exact - sampled).abs() < 0.004, "{exact} {sampled}");
    }

    #[test]
    fn many_rows_are_seeded_and_never_zero() {
        let differences: Vec<f64> = (0..200).map(|i| 1.0 + f64::from(i)).collect();
        let a = sign_flip(&differences, 999, 5).expect("valid");
        assert_eq!(a, sign_flip(&differences, 999, 5).expect("valid"));
        assert_eq!((a.p, a.exact), (0.001, false));
        assert!(sign_flip(&differences, 0, 5).is_err());
    }

    #[test]
    fn not_a_number_is_an_error() {
        assert!(matches!(
            sign_flip(&[0.1, f64::NAN], 10, 0),
            Err(StatsError::NotFinite { row: 1, .. })
        ));
    }
}
