//! Two one-sided tests: is there *no* difference that matters?
//!
//! A large p-value of a test of difference is no evidence of sameness; this is the test that gives such evidence.

use super::error::{StatsError, all_finite, open_unit};
use super::interval::mean_sd;
use super::special::{normal_cdf, t_cdf};

/// Result of [`equivalence`] and [`equivalence_of_rates`]: one p-value for each side of the margin.
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
    check_margin(margin)?;
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

/// Two one-sided score tests that the difference of two paired rates lies strictly between `-margin` and `margin`:
/// `wins` rows became right and `losses` wrong, of `rows` (Tango, "Equivalence test and confidence interval for the
/// difference in proportions for the paired-sample design", Statistics in Medicine 17, 1998).
///
/// With few changed rows the variance that a t test estimates is far too small, and it claims sameness too easily. Here
/// the variance is the one that the rows would have at the margin, so no changed row at all is evidence as well.
///
/// ```
/// let quiet = textmetrics::stats::equivalence_of_rates(1, 0, 300, 0.05)?;
/// assert!(quiet.p() < 0.001);
/// let few = textmetrics::stats::equivalence_of_rates(0, 0, 15, 0.05)?;
/// assert!(few.p() > 0.05, "fifteen rows say little about five in a hundred");
/// # Ok::<(), textmetrics::stats::StatsError>(())
/// ```
///
/// # Errors
/// No row, more changed rows than rows, or a margin outside (0, 1).
pub fn equivalence_of_rates(
    wins: u64,
    losses: u64,
    rows: u64,
    margin: f64,
) -> Result<Equivalence, StatsError> {
    open_unit("margin", margin)?;
    if rows == 0 || wins.checked_add(losses).is_none_or(|c| c > rows) {
        return Err(StatsError::TooFewRows {
            what: format!("{wins} won and {losses} lost rows"),
            needed: wins.saturating_add(losses).max(1) as usize,
        });
    }
    let (wins, losses) = (wins as f64, losses as f64);
    Ok(score_tests(wins, losses, rows as f64, margin))
}

/// [`equivalence_of_rates`] for any sums of gains and losses that are at most 1 a row. Among all such rows those that
/// change by 1 or not at all vary most, so for partial changes it is careful.
pub(super) fn score_tests(gained: f64, lost: f64, rows: f64, margin: f64) -> Equivalence {
    Equivalence {
        p_above: score_test(lost, gained, rows, margin),
        p_below: score_test(gained, lost, rows, margin),
    }
}

/// One-sided p-value against "the gain is `margin` or more".
fn score_test(gained: f64, lost: f64, rows: f64, margin: f64) -> f64 {
    // The rate of losses that is likeliest where the gain is exactly the margin.
    let b = (2.0 * rows - gained + lost) * margin - gained - lost;
    let c = -lost * margin * (1.0 - margin);
    let rate = ((b * b - 8.0 * rows * c).sqrt() - b) / (4.0 * rows);
    let variance = rows * (2.0 * rate + margin * (1.0 - margin));
    normal_cdf((gained - lost - rows * margin) / variance.sqrt())
}

fn check_margin(margin: f64) -> Result<(), StatsError> {
    if margin.is_finite() && margin > 0.0 {
        return Ok(());
    }
    Err(StatsError::BadParameter {
        name: "margin",
        value: margin,
        expected: "a positive number",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_mirrored_and_checked() {
        let there = equivalence_of_rates(3, 9, 200, 0.05).expect("valid");
        let back = equivalence_of_rates(9, 3, 200, 0.05).expect("valid");
        assert_eq!((there.p_above, there.p_below), (back.p_below, back.p_above));
        assert!(equivalence_of_rates(0, 0, 0, 0.05).is_err());
        assert!(equivalence_of_rates(2, 2, 3, 0.05).is_err());
        assert!(equivalence_of_rates(u64::MAX, 2, 3, 0.05).is_err());
        assert!(equivalence_of_rates(1, 1, 3, 1.0).is_err());
    }

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
