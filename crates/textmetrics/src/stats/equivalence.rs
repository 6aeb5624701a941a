//! Two one-sided tests: is there *no* difference that matters?
//!
//! A large p-value of a test of difference is no evidence of sameness; this is the test that gives such evidence.

use super::error::{StatsError, all_finite};
use super::interval::mean_sd;
use super::special::t_cdf;

/// Result of [`equivalence`]: one p-value for each side of the margin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Equivalence {
    /// p-value against "the mean is at or below `-margin`".
    pub p_above: f64,
    /// p-value against "the mean is at or above `margin`".
    pub p_below: f64,
}

impl Equivalence {
    /// The p-value of equivalence: both sides must be ruled out, so the larger of the two.
    pub fn p(self) -> f64 {
        self.p_above.max(self.p_below)
    }
}

/// Two one-sided paired t tests (TOST; Schuirmann, J. Pharmacokinetics and Biopharmaceutics 15, 1987) that the mean of
/// `differences` lies strictly between `-margin` and `margin`, in the unit of the differences. The same as
/// `statsmodels`' `ttost_paired`. Differences without variance are inside the margin (p = 0) or not (p = 1).
///
/// # Errors
/// Fewer than two rows, a difference that is not finite, or a margin that is not a positive number.
pub fn equivalence(differences: &[f64], margin: f64) -> Result<Equivalence, StatsError> {
    all_finite("equivalence test", differences)?;
    if differences.len() < 2 {
        return Err(StatsError::TooFewRows {
            what: "equivalence test".into(),
            needed: 2,
        });
    }
    if !(margin.is_finite() && margin > 0.0) {
        return Err(StatsError::BadParameter {
            name: "margin",
            value: margin,
            expected: "a positive number",
        });
    }
    // Rounding in the mean would give equal values a variance.
    let constant = differences.iter().all(|d| *d == differences[0]);
    let (mean, sd) = if constant {
        (differences[0], 0.0)
    } else {
        mean_sd(differences)
    };
    let n = differences.len() as f64;
    let error = sd / n.sqrt();
    let upper_tail = |distance: f64| {
        if error > 0.0 {
            t_cdf(-distance / error, n - 1.0)
        } else {
            f64::from(distance <= 0.0)
        }
    };
    Ok(Equivalence {
        p_above: upper_tail(mean + margin),
        p_below: upper_tail(margin - mean),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_variance_the_mean_decides() {
        let p = |value: f64| equivalence(&[value; 3], 0.05).expect("valid").p();
        assert_eq!((p(0.0), p(0.05), p(-0.05), p(1.0)), (0.0, 1.0, 1.0, 1.0));
    }

    #[test]
    fn both_sides_are_mirrored() {
        let values = [0.01, 0.04, -0.02, 0.03];
        let there = equivalence(&values, 0.05).expect("valid");
        let back = equivalence(&values.map(|v| -v), 0.05).expect("valid");
        assert_eq!((there.p_above, there.p_below), (back.p_below, back.p_above));
    }

    #[test]
    fn wrong_input_is_an_error() {
        assert!(equivalence(&[0.1], 0.05).is_err());
        assert!(equivalence(&[0.1, f64::NAN], 0.05).is_err());
        assert!(equivalence(&[0.1, 0.2], 0.0).is_err());
        assert!(equivalence(&[0.1, 0.2], f64::INFINITY).is_err());
    }
}
