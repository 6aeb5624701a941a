//! From scored rows to comparisons: every metric, on all rows and on the short ones.

use serde::Serialize;

use super::cluster::Clusters;
use super::error::StatsError;
use super::paired::{CompareOptions, Kind, MetricPair, PairedComparison, compare_paired_clustered};
use crate::score::{Metric, RowScore};

/// Both comparisons of two systems. Serialises as the one over all rows with `short` beside it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RowsComparison {
    /// Over all rows.
    #[serde(flatten)]
    pub all: PairedComparison,
    /// Over rows with a short gold answer; `None` where there is none. A family of its own for
    /// Holm's adjustment.
    pub short: Option<PairedComparison>,
}

/// Compares two systems by every [`Metric`] of their rows; row i of one answers row i of the other.
///
/// # Errors
/// As [`compare_paired`](super::compare_paired).
pub fn compare_rows(
    before: &[RowScore],
    after: &[RowScore],
    options: &CompareOptions,
) -> Result<RowsComparison, StatsError> {
    let alone = Clusters::sharing(before.iter().map(|_| None::<()>));
    compare_rows_clustered(before, after, &alone, options)
}

/// [`compare_rows`] for rows that hang together.
///
/// # Errors
/// As [`compare_paired_clustered`].
pub fn compare_rows_clustered(
    before: &[RowScore],
    after: &[RowScore],
    clusters: &Clusters,
    options: &CompareOptions,
) -> Result<RowsComparison, StatsError> {
    let short = |rows: &[RowScore]| rows.iter().filter(|r| r.short).copied().collect::<Vec<_>>();
    let (short_before, short_after) = (short(before), short(after));
    let short_rows = (0..before.len()).filter(|&row| before[row].short);
    Ok(RowsComparison {
        all: compare_all_metrics(before, after, clusters, options)?,
        short: if short_before.is_empty() && short_after.is_empty() {
            None
        } else {
            let clusters = clusters.subset(short_rows);
            Some(compare_all_metrics(
                &short_before,
                &short_after,
                &clusters,
                options,
            )?)
        },
    })
}

fn compare_all_metrics(
    before: &[RowScore],
    after: &[RowScore],
    clusters: &Clusters,
    options: &CompareOptions,
) -> Result<PairedComparison, StatsError> {
    let column =
        |rows: &[RowScore], m: Metric| rows.iter().map(|row| m.of(row)).collect::<Vec<_>>();
    let columns: Vec<_> = Metric::ALL
        .iter()
        .map(|&m| (m, column(before, m), column(after, m)))
        .collect();
    let metrics: Vec<_> = columns
        .iter()
        .map(|(metric, before, after)| MetricPair {
            name: metric.name(),
            kind: if metric.is_binary() {
                Kind::Binary
            } else {
                Kind::Score
            },
            before,
            after,
        })
        .collect();
    compare_paired_clustered(&metrics, clusters, options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ScoreOptions, score_row};

    #[test]
    fn every_metric_and_the_short_rows() {
        let score =
            |gold: &str, prediction: &str| score_row(gold, prediction, &ScoreOptions::default());
        let long = "one two three four five six seven eight nine ten eleven twelve 13 14 15 16";
        let before = [score("Paris", "Rome"), score(long, "one two")];
        let after = [score("Paris", "Paris"), score(long, "one two three")];
        let compared = compare_rows(&before, &after, &CompareOptions::default()).expect("valid");
        assert_eq!(
            (compared.all.n, compared.all.metrics.len()),
            (2, Metric::ALL.len())
        );
        assert_eq!(compared.short.as_ref().map(|short| short.n), Some(1));
        assert_eq!(
            compared.all.metric("em").map(|em| (em.wins, em.ties)),
            Some((1, 1))
        );
        let none =
            compare_rows(&before[1..], &after[1..], &CompareOptions::default()).expect("valid");
        assert_eq!(none.short, None);
    }
}
