//! Exact tests on counts of rows that changed: McNemar and the sign test are the same sum of coin flips.

use super::special::incomplete_beta;

/// Counts up to here are summed in whole numbers; `2^120` still fits.
const WHOLE_NUMBER_LIMIT: u64 = 120;

/// Two-sided exact p-value of `a` heads and `b` tails under a fair coin: `min(1, 2 · P(X ≤ min(a, b)))`, and 1 without
/// any flip. The same as `scipy.stats.binomtest(a, a + b).pvalue`.
pub fn exact_binomial_half(a: u64, b: u64) -> f64 {
    let (n, k) = (a.saturating_add(b), a.min(b));
    if a == b {
        return 1.0;
    }
    let tail = if n <= WHOLE_NUMBER_LIMIT {
        whole_number_tail(n, k)
    } else {
        // P(X ≤ k) = I_{1/2}(n − k, k + 1)
        incomplete_beta((n - k) as f64, (k + 1) as f64, 0.5)
    };
    (2.0 * tail).min(1.0)
}

/// `Σ_{i ≤ k} C(n, i) / 2^n`, the sum formed without rounding.
fn whole_number_tail(n: u64, k: u64) -> f64 {
    let (mut choose, mut sum) = (1_u128, 1_u128);
    for i in 1..=u128::from(k) {
        choose = choose * (u128::from(n) - i + 1) / i;
        sum += choose;
    }
    sum as f64 / 2_f64.powi(n as i32)
}

/// Exact McNemar test of two yes/no systems on the same rows. `gained`: rows only the second got right; `lost`: rows
/// only the first got right; rows on which they agree say nothing about the difference. No such row: p = 1.
pub fn mcnemar(gained: u64, lost: u64) -> f64 {
    exact_binomial_half(gained, lost)
}

/// Exact two-sided sign test: are there more wins than losses, whatever their size? Ties are left out.
pub fn sign_test(wins: u64, losses: u64) -> f64 {
    exact_binomial_half(wins, losses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_counts_are_exact() {
        assert_eq!(mcnemar(0, 0), 1.0);
        assert_eq!(mcnemar(5, 0), 0.0625);
        assert_eq!(mcnemar(0, 5), 0.0625);
        assert_eq!(mcnemar(1, 0), 1.0);
        assert_eq!(sign_test(3, 3), 1.0);
    }

    #[test]
    fn both_ways_of_summing_agree() {
        for (a, b) in [(40, 80), (10, 110), (59, 61), (0, 120)] {
            let direct = 2.0 * whole_number_tail(a + b, a.min(b));
            let beta = 2.0 * incomplete_beta(a.max(b) as f64, (a.min(b) + 1) as f64, 0.5);
            assert!(
                (direct / beta - 1.0).abs() < 1e-11,
                "{a} {b}: {direct} {beta}"
            );
        }
    }

    #[test]
    fn huge_counts_do_not_overflow() {
        assert_eq!(mcnemar(u64::MAX, u64::MAX), 1.0);
        assert!(mcnemar(1_000_000, 998_000) > 0.1);
        assert_eq!(mcnemar(1_000_000, 0), 0.0);
    }
}
