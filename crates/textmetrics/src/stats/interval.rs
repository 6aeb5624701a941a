//! Confidence intervals for rates, differences of paired rates and mean differences.

use std::fmt;

use super::error::{StatsError, all_finite, open_unit};
use super::rng::Rng;
use super::special::{bisect, incomplete_beta, normal_quantile, t_quantile};

/// Rows up to which a mean difference gets a bootstrap-t interval; above, Student t is as good and immediate.
pub const BOOTSTRAP_LIMIT: usize = 500;

/// How an interval was formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum IntervalMethod {
    /// Wilson's score interval of one rate (1927).
    Wilson,
    /// The exact interval of Clopper and Pearson of one rate (1934).
    ClopperPearson,
    /// Newcombe's score interval of a difference of paired rates (1998, method 10).
    NewcombePaired,
    /// Student's t interval of a mean.
    StudentT,
    /// Studentised bootstrap of a mean.
    BootstrapT,
    /// Percentile bootstrap of any statistic.
    Percentile,
}

impl fmt::Display for IntervalMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wilson => "Wilson",
            Self::ClopperPearson => "Clopper-Pearson",
            Self::NewcombePaired => "Newcombe paired score",
            Self::StudentT => "Student t",
            Self::BootstrapT => "bootstrap-t",
            Self::Percentile => "percentile bootstrap",
        })
    }
}

/// A two-sided confidence interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub lo: f64,
    /// Upper end.
    pub hi: f64,
    /// How it was formed.
    pub method: IntervalMethod,
}

impl Interval {
    /// The part of the interval that lies in `[lowest, highest]`.
    #[must_use]
    pub fn clamp(self, lowest: f64, highest: f64) -> Self {
        Self {
            lo: self.lo.clamp(lowest, highest),
            hi: self.hi.clamp(lowest, highest),
            ..self
        }
    }
}

/// Wilson's score interval for `successes` of `n` at `confidence` (say 0.95).
///
/// # Errors
/// `n` of 0, more successes than rows, or a confidence outside (0, 1).
pub fn wilson(successes: u64, n: u64, confidence: f64) -> Result<Interval, StatsError> {
    check_rate("Wilson interval", successes, n, confidence)?;
    let z = normal_quantile(0.5 + confidence / 2.0);
    let (n, p) = (n as f64, successes as f64 / n as f64);
    let shrink = 1.0 + z * z / n;
    let centre = (p + z * z / (2.0 * n)) / shrink;
    let half = z / shrink * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    // At 0 and at n successes the end is exact; rounding must not move it off.
    let lo = if successes == 0 { 0.0 } else { centre - half };
    let hi = if p >= 1.0 { 1.0 } else { centre + half };
    Ok(Interval {
        lo,
        hi,
        method: IntervalMethod::Wilson,
    })
}

/// The exact interval of Clopper and Pearson for `successes` of `n` (Biometrika 26, 1934): it never covers less often
/// than `confidence` says, and is wider than [`wilson`] for it.
///
/// # Errors
/// As [`wilson`].
pub fn clopper_pearson(successes: u64, n: u64, confidence: f64) -> Result<Interval, StatsError> {
    check_rate("Clopper-Pearson interval", successes, n, confidence)?;
    let tail = (1.0 - confidence) / 2.0;
    let (right, wrong) = (successes as f64, (n - successes) as f64);
    let beta_quantile = |p, a, b| bisect(0.0, 1.0, |x| incomplete_beta(a, b, x) < p);
    Ok(Interval {
        lo: match successes {
            0 => 0.0,
            _ => beta_quantile(tail, right, wrong + 1.0),
        },
        hi: match n - successes {
            0 => 1.0,
            _ => beta_quantile(1.0 - tail, right + 1.0, wrong),
        },
        method: IntervalMethod::ClopperPearson,
    })
}

fn check_rate(what: &str, successes: u64, n: u64, confidence: f64) -> Result<(), StatsError> {
    open_unit("confidence", confidence)?;
    if n == 0 {
        return Err(StatsError::TooFewRows {
            what: what.into(),
            needed: 1,
        });
    }
    if successes > n {
        return Err(StatsError::BadParameter {
            name: "successes",
            value: successes as f64,
            expected: "at most the number of rows",
        });
    }
    Ok(())
}

/// Interval for `rate after − rate before` of a yes/no metric on the same rows: Newcombe's hybrid of two Wilson
/// intervals with the correlation of the pairs (Statistics in Medicine 17, 1998, 2635–2650, method 10). Counts of rows:
/// `both` right, only `before`, only `after`, `neither`. It keeps a sensible width where no row changed at all.
///
/// # Errors
/// No row, or a confidence outside (0, 1).
pub fn newcombe_paired(
    both: u64,
    before: u64,
    after: u64,
    neither: u64,
    confidence: f64,
) -> Result<Interval, StatsError> {
    let n = both + before + after + neither;
    let (first, second) = (
        wilson(both + before, n, confidence)?,
        wilson(both + after, n, confidence)?,
    );
    let [both, before, after, neither, n] =
        [both, before, after, neither, n].map(|count| count as f64);
    let (rate_before, rate_after) = ((both + before) / n, (both + after) / n);
    let margins = (both + before) * (after + neither) * (both + after) * (before + neither);
    let cross = both * neither - before * after;
    let cross = if cross > 0.0 {
        (cross - n / 2.0).max(0.0)
    } else {
        cross
    };
    let correlation = if margins > 0.0 {
        cross / margins.sqrt()
    } else {
        0.0
    };
    let joined = |a: f64, b: f64| (a * a - 2.0 * correlation * a * b + b * b).max(0.0).sqrt();
    let delta = rate_after - rate_before;
    Ok(Interval {
        lo: delta - joined(rate_after - second.lo, first.hi - rate_before),
        hi: delta + joined(second.hi - rate_after, rate_before - first.lo),
        method: IntervalMethod::NewcombePaired,
    })
}

/// Mean and sample standard deviation (divisor n − 1; 0 for one value). Empty input gives zeros.
pub(super) fn mean_sd(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    if values.is_empty() {
        return (0.0, 0.0);
    }
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    let sd = if values.len() > 1 {
        (squares / (n - 1.0)).sqrt()
    } else {
        0.0
    };
    (mean, sd)
}

/// Student's t interval of a mean.
///
/// # Errors
/// Fewer than two values, one that is not finite, or a confidence outside (0, 1).
pub fn student_t(values: &[f64], confidence: f64) -> Result<Interval, StatsError> {
    check_mean("Student t interval", values, confidence)?;
    let (mean, sd) = mean_sd(values);
    student_t_of(values.len() as u64, mean, sd, confidence)
}

/// [`student_t`] of `n` values that are known by their mean and standard deviation (n − 1) alone, such as those of a
/// file too large to hold.
///
/// # Errors
/// `n` below two, a mean or deviation that is not finite, or a confidence outside (0, 1).
pub fn student_t_of(n: u64, mean: f64, sd: f64, confidence: f64) -> Result<Interval, StatsError> {
    if n < 2 {
        return Err(StatsError::TooFewRows {
            what: "Student t interval".into(),
            needed: 2,
        });
    }
    open_unit("confidence", confidence)?;
    all_finite("Student t interval", &[mean, sd])?;
    let n = n as f64;
    let half = t_quantile(0.5 + confidence / 2.0, n - 1.0) * sd / n.sqrt();
    Ok(Interval {
        lo: mean - half,
        hi: mean + half,
        method: IntervalMethod::StudentT,
    })
}

/// Studentised bootstrap interval of a mean: `mean − q · se`, where `q` are quantiles of `(mean* − mean) / se*` over
/// `resamples` resamples. It follows the skew that a t interval ignores. Where it has no answer (no variance, or so
/// few changed rows that resamples without variance reach the wanted tail) it gives [`student_t`], and says so in
/// [`Interval::method`].
///
/// # Errors
/// As [`student_t`]; also `resamples` of 0.
pub fn bootstrap_t(
    values: &[f64],
    confidence: f64,
    resamples: usize,
    seed: u64,
) -> Result<Interval, StatsError> {
    check_mean("bootstrap-t interval", values, confidence)?;
    if resamples == 0 {
        return Err(StatsError::BadParameter {
            name: "resamples",
            value: 0.0,
            expected: "at least 1",
        });
    }
    let (mean, sd) = mean_sd(values);
    if sd == 0.0 {
        return student_t(values, confidence);
    }
    let centred: Vec<f64> = values.iter().map(|v| v - mean).collect();
    let mut rng = Rng::new(seed);
    let mut ts: Vec<f64> = (0..resamples)
        .map(|_| resampled_t(&centred, sd, &mut rng))
        .collect();
    ts.sort_by(f64::total_cmp);
    let rank = |q: f64| {
        ((resamples as f64 + 1.0) * q)
            .floor()
            .clamp(1.0, resamples as f64) as usize
            - 1
    };
    let low_rank = rank((1.0 - confidence) / 2.0);
    let (low, high) = (ts[low_rank], ts[resamples - 1 - low_rank]);
    if !low.is_finite() || !high.is_finite() {
        return student_t(values, confidence);
    }
    let error = sd / (values.len() as f64).sqrt();
    Ok(Interval {
        lo: mean - high * error,
        hi: mean - low * error,
        method: IntervalMethod::BootstrapT,
    })
}

/// The t statistic of one resample of centred values; infinite where all drawn values are equal but not zero.
fn resampled_t(centred: &[f64], sd: f64, rng: &mut Rng) -> f64 {
    let n = centred.len() as f64;
    let (mut sum, mut squares) = (0.0, 0.0);
    for _ in centred {
        let value = centred[rng.below(centred.len())];
        sum += value;
        squares += value * value;
    }
    let mean = sum / n;
    let variance = ((squares - n * mean * mean) / (n - 1.0)).max(0.0);
    if variance > 1e-12 * sd * sd {
        mean / (variance / n).sqrt()
    } else if mean.abs() > 1e-9 * sd {
        f64::INFINITY.copysign(mean)
    } else {
        0.0
    }
}

/// The interval of a mean difference: [`bootstrap_t`] up to [`BOOTSTRAP_LIMIT`] rows, [`student_t`] above.
///
/// # Errors
/// As [`bootstrap_t`].
pub fn mean_interval(
    values: &[f64],
    confidence: f64,
    resamples: usize,
    seed: u64,
) -> Result<Interval, StatsError> {
    if values.len() > BOOTSTRAP_LIMIT {
        student_t(values, confidence)
    } else {
        bootstrap_t(values, confidence, resamples, seed)
    }
}

fn check_mean(what: &str, values: &[f64], confidence: f64) -> Result<(), StatsError> {
    open_unit("confidence", confidence)?;
    if values.len() < 2 {
        return Err(StatsError::TooFewRows {
            what: what.into(),
            needed: 2,
        });
    }
    all_finite(what, values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_changed_still_has_a_width() {
        let ci = newcombe_paired(1, 0, 0, 14, 0.95).expect("valid");
        assert!(ci.lo < -0.1 && ci.hi > 0.1, "{ci:?}");
        let none = newcombe_paired(0, 0, 0, 15, 0.95).expect("valid");
        assert!(
            none.lo < 0.0 && (none.lo + none.hi).abs() < 1e-12,
            "{none:?}"
        );
    }

    #[test]
    fn swapping_the_systems_mirrors_the_interval() {
        let (a, b) = (
            newcombe_paired(9, 3, 7, 21, 0.95),
            newcombe_paired(9, 7, 3, 21, 0.95),
        );
        let (a, b) = (a.expect("valid"), b.expect("valid"));
        assert!((a.lo + b.hi).abs() < 1e-12 && (a.hi + b.lo).abs() < 1e-12);
    }

    #[test]
    fn bootstrap_follows_the_skew_and_is_seeded() {
        let skewed: Vec<f64> = (0..40)
            .map(|i| (f64::from(i) / 8.0).exp() / 100.0)
            .collect();
        let (mean, _) = mean_sd(&skewed);
        let ci = bootstrap_t(&skewed, 0.95, 4_000, 1).expect("valid");
        assert_eq!(ci.method, IntervalMethod::BootstrapT);
        assert!(ci.hi - mean > 1.3 * (mean - ci.lo), "{ci:?} around {mean}");
        assert_eq!(ci, bootstrap_t(&skewed, 0.95, 4_000, 1).expect("valid"));
    }

    #[test]
    fn bootstrap_without_an_answer_says_student() {
        let one_changed = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.4];
        assert_eq!(
            bootstrap_t(&one_changed, 0.95, 999, 1)
                .expect("valid")
                .method,
            IntervalMethod::StudentT
        );
        let constant = bootstrap_t(&[0.1; 9], 0.95, 999, 1).expect("valid");
        assert!((constant.lo - 0.1).abs() < 1e-12 && (constant.hi - 0.1).abs() < 1e-12);
    }

    #[test]
    fn wrong_input_is_an_error() {
        assert!(wilson(0, 0, 0.95).is_err());
        assert!(wilson(3, 2, 0.95).is_err());
        assert!(wilson(1, 2, 1.0).is_err());
        assert!(student_t(&[1.0], 0.95).is_err());
        assert!(bootstrap_t(&[1.0, f64::NAN], 0.95, 10, 0).is_err());
        assert!(bootstrap_t(&[1.0, 2.0], 0.95, 0, 0).is_err());
    }
}
