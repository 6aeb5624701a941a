//! Several candidates against one baseline, and several seeds of one candidate.

use serde::Serialize;

use super::cluster::Clusters;
use super::error::{StatsError, all_finite};
use super::interval::{Interval, mean_sd, student_t};
use super::paired::{CompareOptions, MetricPair, PairedComparison, clusters_of, compare_families};

/// Compares several candidates with the baseline they share, all claims in one family: who tries ten candidates finds
/// the luckiest of them, unless Holm's adjustment runs over candidates × metrics. `candidates` holds the metrics of each, the
/// baseline's scores as `before`.
///
/// ```
/// use textmetrics::stats::{CompareOptions, Kind, MetricPair, compare_systems};
///
/// let before = [0.0; 15];
/// let mut gains = [0.0; 15];
/// gains[..6].fill(1.0); // p = 0.0312 alone
/// let pair = |after| [MetricPair { name: "em", kind: Kind::Binary, before: &before, after }];
/// let compared = compare_systems(&[&pair(&gains), &pair(&before)], None, &CompareOptions::default())?;
/// assert_eq!(compared[0].metrics[0].p_holm, 2.0 * 0.03125);
/// # Ok::<(), textmetrics::stats::StatsError>(())
/// ```
///
/// # Errors
/// No candidate; else as [`compare_paired_clustered`](super::compare_paired_clustered), and for candidates of unequal
/// numbers of rows.
pub fn compare_systems(
    candidates: &[&[MetricPair<'_>]],
    clusters: Option<&Clusters>,
    options: &CompareOptions,
) -> Result<Vec<PairedComparison>, StatsError> {
    if candidates.is_empty() {
        return Err(StatsError::TooFewRows {
            what: "comparison without candidates".into(),
            needed: 1,
        });
    }
    let rows = candidates[0]
        .first()
        .map_or(0, |metric| metric.before.len());
    let clusters = clusters_of(rows, clusters)?;
    compare_families(candidates, clusters, options)
}

/// What the choice of a seed moves. Result of [`seed_spread`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeedSpread {
    /// The mean score of each seed's run, in the order given.
    pub means: Vec<f64>,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation (n − 1); `None` for one seed.
    pub sd: Option<f64>,
    /// Student's interval of the mean over seeds, for a new seed's expected score; `None` for one seed.
    #[serde(serialize_with = "super::paired::pair_of_ends")]
    pub ci: Option<Interval>,
}

/// The spread between the runs of one recipe with several seeds; `runs` holds each run's scores (or differences to a
/// baseline) on the same rows. Rows are fixed here: the interval says what another seed may give on *these* rows, as
/// the paired interval of the [row means](mean_over_seeds) says what these seeds may give on other rows (Bouthillier
/// et al., "Accounting for variance in machine learning benchmarks", 2021).
///
/// # Errors
/// No run, runs of unequal or no rows, a score that is not finite, or a confidence outside (0, 1).
pub fn seed_spread(runs: &[&[f64]], confidence: f64) -> Result<SeedSpread, StatsError> {
    check(runs)?;
    let means: Vec<f64> = runs.iter().map(|run| mean_sd(run).0).collect();
    let (mean, sd) = mean_sd(&means);
    let several = means.len() > 1;
    let ci = several.then(|| student_t(&means, confidence)).transpose()?;
    Ok(SeedSpread {
        mean,
        sd: several.then_some(sd),
        ci,
        means,
    })
}

/// The mean of each row over the runs of several seeds: the score to compare, of kind [`Score`](super::Kind::Score) even
/// where each run's was yes or no. Averaging first keeps the row as the unit; `seeds × rows` pairs are not independent.
///
/// # Errors
/// No run, runs of unequal or no rows, or a score that is not finite.
pub fn mean_over_seeds(runs: &[&[f64]]) -> Result<Vec<f64>, StatsError> {
    let rows = check(runs)?;
    let of = |row: usize| runs.iter().map(|run| run[row]).sum::<f64>() / runs.len() as f64;
    Ok((0..rows).map(of).collect())
}

/// The number of rows of every run.
fn check(runs: &[&[f64]]) -> Result<usize, StatsError> {
    let rows = runs.first().map_or(0, |run| run.len());
    if rows == 0 {
        return Err(StatsError::TooFewRows {
            what: "runs of several seeds".into(),
            needed: 1,
        });
    }
    for (number, run) in runs.iter().enumerate() {
        if run.len() != rows {
            return Err(StatsError::UnevenMetrics {
                metric: format!("run {}", number + 1),
                found: run.len(),
                expected: rows,
            });
        }
        all_finite(&format!("run {}", number + 1), run)?;
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::super::paired::{Kind, compare_paired};
    use super::*;

    fn pair<'a>(before: &'a [f64], after: &'a [f64]) -> [MetricPair<'a>; 1] {
        [MetricPair {
            name: "f1",
            kind: Kind::Score,
            before,
            after,
        }]
    }

    #[test]
    fn one_candidate_is_the_plain_comparison() {
        let (before, after) = ([0.1, 0.2, 0.3, 0.4], [0.3, 0.2, 0.5, 0.1]);
        let options = CompareOptions::default();
        let one = compare_systems(&[&pair(&before, &after)], None, &options).expect("valid");
        assert_eq!(
            one,
            [compare_paired(&pair(&before, &after), &options).expect("valid")]
        );
    }

    #[test]
    fn candidates_share_one_family_and_plan_for_it() {
        let before = [0.2; 40];
        let after: Vec<f64> = (0..40)
            .map(|i| 0.2 + f64::from(i % 7) / 50.0 - 0.03)
            .collect();
        let options = CompareOptions::default();
        let pair = pair(&before, &after);
        let alone = compare_systems(&[&pair], None, &options).expect("valid");
        let three = compare_systems(&[&pair, &pair, &pair], None, &options).expect("valid");
        let (alone, first) = (&alone[0].metrics[0], &three[0].metrics[0]);
        assert_eq!((first.p, first.p_holm), (alone.p, (3.0 * alone.p).min(1.0)));
        assert!(first.mde > alone.mde && first.rows_needed > alone.rows_needed);
    }

    #[test]
    fn candidates_need_the_same_rows() {
        let options = CompareOptions::default();
        let (one, two) = ([0.5], [0.5, 0.5]);
        let uneven = compare_systems(&[&pair(&one, &one), &pair(&two, &two)], None, &options);
        assert!(matches!(
            uneven,
            Err(StatsError::UnevenMetrics {
                found: 2,
                expected: 1,
                ..
            })
        ));
        assert!(compare_systems(&[], None, &options).is_err());
    }

    #[test]
    fn seeds_average_by_row_and_spread_by_run() {
        let runs: [&[f64]; 3] = [&[0.0, 1.0], &[1.0, 1.0], &[0.5, 0.25]];
        assert_eq!(mean_over_seeds(&runs).expect("valid"), [0.5, 0.75]);
        let spread = seed_spread(&runs, 0.95).expect("valid");
        assert_eq!(spread.means, [0.5, 1.0, 0.375]);
        assert!((spread.mean - 0.625).abs() < 1e-15);
        assert!(spread.ci.is_some_and(|ci| ci.lo < 0.375 && ci.hi > 1.0));
        let one = seed_spread(&runs[..1], 0.95).expect("valid");
        assert_eq!((one.sd, one.ci), (None, None));
        assert!(seed_spread(&[&[0.1], &[0.1, 0.2]], 0.95).is_err());
        assert!(mean_over_seeds(&[]).is_err());
        assert!(mean_over_seeds(&[&[f64::NAN]]).is_err());
    }
}
