//! Intervals for figures of a whole set that are no mean of rows, such as corpus BLEU.

use super::error::{StatsError, open_unit};
use super::interval::{Interval, IntervalMethod};
use super::rng::Rng;

/// Percentile bootstrap (Efron 1979; for corpus metrics Koehn, "Statistical significance tests for machine translation
/// evaluation", EMNLP 2004): `statistic` of `resamples` sets of `rows` row numbers drawn with replacement, between the
/// quantiles that leave (1 − `confidence`) / 2 on either side.
///
/// For the difference of two systems let `statistic` score both on the same rows. An interval only: no p-value is to
/// be read off it.
///
/// ```
/// use textmetrics::stats::percentile_bootstrap;
///
/// let (hits, words) = ([3.0, 5.0, 0.0, 4.0], [4.0, 9.0, 2.0, 4.0]);
/// let rate = |rows: &[usize]| {
///     let sum = |of: &[f64]| rows.iter().map(|&row| of[row]).sum::<f64>();
///     sum(&hits) / sum(&words)
/// };
/// let interval = percentile_bootstrap(4, 0.95, 1000, 0, rate)?;
/// assert!(interval.lo < 12.0 / 19.0 && 12.0 / 19.0 < interval.hi);
/// # Ok::<(), textmetrics::stats::StatsError>(())
/// ```
///
/// # Errors
/// No row, no resample, a confidence outside (0, 1), or a statistic that is not finite.
pub fn percentile_bootstrap(
    rows: usize,
    confidence: f64,
    resamples: usize,
    seed: u64,
    mut statistic: impl FnMut(&[usize]) -> f64,
) -> Result<Interval, StatsError> {
    open_unit("confidence", confidence)?;
    for (what, count) in [("rows", rows), ("resamples", resamples)] {
        if count == 0 {
            return Err(StatsError::TooFewRows {
                what: format!("percentile bootstrap ({what})"),
                needed: 1,
            });
        }
    }
    let mut rng = Rng::new(seed);
    let mut drawn = vec![0; rows];
    let mut found = Vec::with_capacity(resamples);
    for _ in 0..resamples {
        for row in &mut drawn {
            *row = rng.below(rows);
        }
        found.push(statistic(&drawn));
    }
    super::error::all_finite("percentile bootstrap", &found)?;
    found.sort_by(f64::total_cmp);
    let tail = (1.0 - confidence) / 2.0;
    Ok(Interval {
        lo: quantile(&found, tail),
        hi: quantile(&found, 1.0 - tail),
        method: IntervalMethod::Percentile,
    })
}

/// Linear interpolation between order statistics (NumPy's default; Hyndman and Fan's type 7).
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_numpy() {
        // numpy.quantile([1, 2, 4, 8], [0.025, 0.5, 0.9])
        let of = |share| quantile(&[1.0, 2.0, 4.0, 8.0], share);
        assert!((of(0.025) - 1.075).abs() < 1e-12);
        assert!((of(0.5) - 3.0).abs() < 1e-12);
        assert!((of(0.9) - 6.8).abs() < 1e-12);
    }

    #[test]
    fn for_a_mean_it_is_as_wide_as_the_formula_says() {
        let values: Vec<f64> = (0..400).map(|i| f64::from(i % 20) / 20.0).collect();
        let mean = |rows: &[usize]| rows.iter().map(|&r| values[r]).sum::<f64>() / 400.0;
        let interval = percentile_bootstrap(400, 0.95, 4000, 3, mean).expect("valid");
        // The standard deviation of 0, 1, …, 19 is sqrt((20² − 1) / 12).
        let half = 1.959_964 * (399.0f64 / 12.0).sqrt() / 20.0 / 20.0;
        assert!((interval.lo - (0.475 - half)).abs() < 0.003, "{interval:?}");
        assert!((interval.hi - (0.475 + half)).abs() < 0.003, "{interval:?}");
        let again = percentile_bootstrap(400, 0.95, 4000, 3, mean).expect("valid");
        assert_eq!(interval, again);
    }

    #[test]
    fn wrong_input_is_an_error() {
        assert!(percentile_bootstrap(0, 0.95, 10, 0, |_| 0.0).is_err());
        assert!(percentile_bootstrap(5, 0.95, 0, 0, |_| 0.0).is_err());
        assert!(percentile_bootstrap(5, 1.0, 10, 0, |_| 0.0).is_err());
        assert!(percentile_bootstrap(5, 0.95, 10, 0, |_| f64::NAN).is_err());
    }
}
