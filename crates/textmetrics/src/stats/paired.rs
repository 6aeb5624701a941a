//! All questions at once, for a list of metrics scored on the same rows by two systems.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::cluster::Clusters;
use super::error::{StatsError, all_finite};
use super::holm::holm;
use super::interval::Interval;
use super::plan::Plan;
use super::verdict::{self, Verdict};

mod one;

use self::one::compare_one;

/// Differences up to this size are rounding, not a win: the same score by two routes may differ in its last bits.
pub const TIE: f64 = 1e-12;

/// What a metric's row scores are, which decides its test and interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Right (1) or wrong (0): McNemar, Newcombe.
    Binary,
    /// A share in `[0, 1]`, such as F1: sign flip, bootstrap-t.
    Score,
    /// Any finite number, such as a length.
    Free,
}

/// One metric's scores on the same rows in the same order.
#[derive(Debug, Clone, Copy)]
pub struct MetricPair<'a> {
    /// Name, as it shall appear in the result.
    pub name: &'a str,
    /// What the scores are.
    pub kind: Kind,
    /// Scores of the first system.
    pub before: &'a [f64],
    /// Scores of the second system.
    pub after: &'a [f64],
}

/// What [`compare_paired`] assumes.
#[derive(Debug, Clone, PartialEq)]
pub struct CompareOptions {
    /// Chance of any false "better" or "worse" that is put up with; also 1 − confidence of the intervals.
    pub alpha: f64,
    /// Random sign patterns, and bootstrap resamples.
    pub resamples: usize,
    /// Seed of both.
    pub seed: u64,
    /// The difference worth seeing, for [`MetricComparison::rows_needed`].
    pub effect: f64,
    /// The probability with which it should be seen.
    pub power: f64,
    /// The largest difference that does not matter, for [`Verdict::NoDifference`].
    pub margin: f64,
}

impl Default for CompareOptions {
    fn default() -> Self {
        Self {
            alpha: 0.05,
            resamples: 10_000,
            seed: 0,
            effect: 0.05,
            power: 0.8,
            margin: 0.05,
        }
    }
}

/// One metric, before against after. Serialises to the fields of `compare --json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricComparison {
    /// Name of the metric.
    #[serde(skip)]
    pub name: String,
    /// Mean of the first system.
    pub before: f64,
    /// Mean of the second system.
    pub after: f64,
    /// Mean of the row differences.
    pub delta: f64,
    /// Interval of `delta`; `None` where one row alone says nothing.
    #[serde(serialize_with = "pair_of_ends")]
    pub ci: Option<Interval>,
    /// How the interval was formed; `None` without one.
    pub ci_method: Option<String>,
    /// Two-sided p-value of `test`.
    pub p: f64,
    /// The same, adjusted for the other metrics of this comparison.
    pub p_holm: f64,
    /// The test used.
    pub test: &'static str,
    /// Rows on which the second system scored higher.
    pub wins: u64,
    /// Rows with the same score.
    pub ties: u64,
    /// Rows on which the second system scored lower.
    pub losses: u64,
    /// Exact sign test on wins against losses.
    pub p_sign: f64,
    /// p-value of "no difference as large as [`CompareOptions::margin`]": score tests for yes/no metrics
    /// ([`equivalence_of_rates`](super::equivalence_of_rates)), else t tests, and the larger of both where fewer than
    /// 30 rows changed. `None` for one row, without any change and without variance. The verdict uses it adjusted by
    /// Holm over the metrics that have one.
    pub p_equivalence: Option<f64>,
    /// Standard deviation of the row differences.
    pub sd_delta: f64,
    /// Smallest true difference that this many rows show with the wanted power; `None` without
    /// variance, or where even a clean sweep of all rows could not be significant.
    pub mde: Option<f64>,
    /// Rows needed to show [`CompareOptions::effect`]; `None` where the data cannot say.
    pub rows_needed: Option<u64>,
    /// What may be said.
    pub verdict: Verdict,
    /// The same in a sentence.
    pub says: String,
}

/// The comparison of two systems on `n` rows. `metrics` serialises as a map by name, in the order given.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairedComparison {
    /// Rows compared.
    pub n: usize,
    /// Clusters that the rows form, where some cluster has more than one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clusters: Option<usize>,
    /// One entry a metric.
    #[serde(serialize_with = "map_by_name")]
    pub metrics: Vec<MetricComparison>,
    /// What may be said overall.
    pub verdict: Verdict,
    /// The same in a sentence.
    pub says: String,
}

impl PairedComparison {
    /// The metric of that name.
    pub fn metric(&self, name: &str) -> Option<&MetricComparison> {
        self.metrics.iter().find(|m| m.name == name)
    }
}

/// Compares two systems on the same rows, metric by metric, with Holm's adjustment across metrics.
///
/// # Errors
/// No metric or no row, unequal lengths, a score that is not finite or off its kind's scale, or an option out of range.
pub fn compare_paired(
    metrics: &[MetricPair<'_>],
    options: &CompareOptions,
) -> Result<PairedComparison, StatsError> {
    compare_one_system(metrics, None, options)
}

/// [`compare_paired`] for rows that hang together: what is flipped, counted and resampled is the cluster. Where every
/// cluster is one row, the result is that of [`compare_paired`].
///
/// # Errors
/// As [`compare_paired`]; also clusters of another number of rows.
pub fn compare_paired_clustered(
    metrics: &[MetricPair<'_>],
    clusters: &Clusters,
    options: &CompareOptions,
) -> Result<PairedComparison, StatsError> {
    let rows = metrics.first().map_or(0, |m| m.before.len());
    compare_one_system(metrics, clusters_of(rows, Some(clusters))?, options)
}

/// Clusters that fit the rows; `None` where every cluster is one row.
pub(super) fn clusters_of(
    rows: usize,
    clusters: Option<&Clusters>,
) -> Result<Option<&Clusters>, StatsError> {
    match clusters {
        Some(clusters) if clusters.rows() != rows => Err(StatsError::UnevenMetrics {
            metric: "clusters".into(),
            found: clusters.rows(),
            expected: rows,
        }),
        clusters => Ok(clusters.filter(|clusters| clusters.count() < rows)),
    }
}

fn compare_one_system(
    metrics: &[MetricPair<'_>],
    clusters: Option<&Clusters>,
    options: &CompareOptions,
) -> Result<PairedComparison, StatsError> {
    let mut compared = compare_families(&[metrics], clusters, options)?;
    Ok(compared.remove(0))
}

/// Every metric of every system, adjusted over all of them; one comparison a system.
pub(super) fn compare_families(
    systems: &[&[MetricPair<'_>]],
    clusters: Option<&Clusters>,
    options: &CompareOptions,
) -> Result<Vec<PairedComparison>, StatsError> {
    let first = systems.first().and_then(|metrics| metrics.first());
    let n = first.map_or(0, |metric| metric.before.len());
    let units = clusters.map_or(n, Clusters::count);
    let claims = systems.iter().map(|metrics| metrics.len()).sum();
    let plan = Plan::new(n, units, claims, options)?;
    let mut compared = Vec::with_capacity(claims);
    for metrics in systems {
        for metric in *metrics {
            check(metric, n)?;
            compared.push(compare_one(metric, clusters, &plan, options)?);
        }
    }
    adjust(&mut compared, n, options)?;
    let mut rest = compared.into_iter();
    systems
        .iter()
        .map(|metrics| {
            let metrics: Vec<_> = rest.by_ref().take(metrics.len()).collect();
            summed_up(n, clusters, metrics, options)
        })
        .collect()
}

/// Adjusted p-values, and what follows from them.
fn adjust(
    compared: &mut [MetricComparison],
    n: usize,
    options: &CompareOptions,
) -> Result<(), StatsError> {
    let adjusted = holm(&compared.iter().map(|m| m.p).collect::<Vec<_>>())?;
    let equivalent = adjusted_equivalence(compared)?;
    for ((metric, p_holm), p_equivalence) in compared.iter_mut().zip(adjusted).zip(equivalent) {
        metric.p_holm = p_holm;
        metric.verdict = verdict::of_metric(metric, p_equivalence, options);
        metric.says = verdict::sentence(metric, n, options);
    }
    Ok(())
}

fn summed_up(
    n: usize,
    clusters: Option<&Clusters>,
    metrics: Vec<MetricComparison>,
    options: &CompareOptions,
) -> Result<PairedComparison, StatsError> {
    if metrics.is_empty() {
        return Err(StatsError::TooFewRows {
            what: "comparison without metrics".into(),
            needed: 1,
        });
    }
    let verdict = verdict::overall(&metrics);
    let says = verdict::overall_sentence(&metrics, n, verdict, options);
    Ok(PairedComparison {
        n,
        clusters: clusters.map(Clusters::count),
        metrics,
        verdict,
        says,
    })
}

fn check(metric: &MetricPair<'_>, n: usize) -> Result<(), StatsError> {
    let (before, after, name) = (metric.before.len(), metric.after.len(), metric.name);
    if before != after {
        return Err(StatsError::LengthMismatch {
            metric: name.into(),
            before,
            after,
        });
    }
    if before != n {
        return Err(StatsError::UnevenMetrics {
            metric: name.into(),
            found: before,
            expected: n,
        });
    }
    if n == 0 {
        return Err(StatsError::TooFewRows {
            what: format!("metric {name}"),
            needed: 1,
        });
    }
    for scores in [metric.before, metric.after] {
        all_finite(&format!("metric {name}"), scores)?;
        let (expected, fits): (_, fn(f64) -> bool) = match metric.kind {
            Kind::Binary => ("0 or 1", |v| v == 0.0 || v == 1.0),
            Kind::Score => ("a share between 0 and 1", |v| {
                (-TIE..=1.0 + TIE).contains(&v)
            }),
            Kind::Free => continue,
        };
        if let Some(row) = scores.iter().position(|v| !fits(*v)) {
            return Err(StatsError::OffScale {
                metric: name.into(),
                row,
                value: scores[row],
                expected,
            });
        }
    }
    Ok(())
}

/// Holm's adjustment over the metrics that have a p-value of equivalence.
fn adjusted_equivalence(metrics: &[MetricComparison]) -> Result<Vec<Option<f64>>, StatsError> {
    let known: Vec<f64> = metrics.iter().filter_map(|m| m.p_equivalence).collect();
    let mut adjusted = holm(&known)?.into_iter();
    Ok(metrics
        .iter()
        .map(|m| m.p_equivalence.and_then(|_| adjusted.next()))
        .collect())
}

#[expect(clippy::ref_option, reason = "serde passes the field by reference")]
pub(super) fn pair_of_ends<S: Serializer>(
    ci: &Option<Interval>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    ci.map(|ci| [ci.lo, ci.hi]).serialize(serializer)
}

fn map_by_name<S: Serializer>(
    metrics: &[MetricComparison],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(metrics.len()))?;
    for metric in metrics {
        map.serialize_entry(&metric.name, metric)?;
    }
    map.end()
}

#[cfg(test)]
mod tests;
