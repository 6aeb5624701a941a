//! From scored rows to comparisons: every metric, on all rows and on the short ones.

use serde::Serialize;

use super::cluster::Clusters;
use super::error::StatsError;
use super::paired::{CompareOptions, Kind, MetricPair, PairedComparison};
use super::systems::{SeedSpread, compare_systems, mean_over_seeds, seed_spread};
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
/// As [`compare_paired_clustered`](super::compare_paired_clustered).
pub fn compare_rows_clustered(
    before: &[RowScore],
    after: &[RowScore],
    clusters: &Clusters,
    options: &CompareOptions,
) -> Result<RowsComparison, StatsError> {
    let mut compared = compare_rows_systems(before, &[after], clusters, options)?;
    Ok(compared.remove(0))
}

/// Several candidates against the baseline that they share, by every metric; all claims about one group of rows are one
/// family ([`compare_systems`]). One comparison a candidate.
///
/// # Errors
/// As [`compare_systems`].
pub fn compare_rows_systems(
    before: &[RowScore],
    candidates: &[&[RowScore]],
    clusters: &Clusters,
    options: &CompareOptions,
) -> Result<Vec<RowsComparison>, StatsError> {
    let candidates: Vec<_> = candidates.iter().map(|rows| Table::of(rows)).collect();
    compare_tables(&Table::of(before), &candidates, clusters, options)
}

/// The average of several runs of one recipe, which differ in their seed, against a baseline
/// ([`mean_over_seeds`](super::mean_over_seeds)); and by metric the [spread](seed_spread) of the runs' changes.
///
/// # Errors
/// No run, or as [`compare_rows_clustered`].
pub fn compare_rows_seeds(
    before: &[RowScore],
    runs: &[&[RowScore]],
    clusters: &Clusters,
    options: &CompareOptions,
) -> Result<(RowsComparison, Vec<(Metric, SeedSpread)>), StatsError> {
    let before = Table::of(before);
    let runs: Vec<_> = runs.iter().map(|rows| Table::of(rows)).collect();
    let mut compared = compare_tables(&before, &[Table::mean(&runs)?], clusters, options)?;
    let spread = |at: usize| {
        let changes = |run: &Table| -> Vec<f64> {
            let pairs = run.columns[at].iter().zip(&before.columns[at]);
            pairs.map(|(after, before)| after - before).collect()
        };
        let changes: Vec<_> = runs.iter().map(changes).collect();
        let changes: Vec<&[f64]> = changes.iter().map(Vec::as_slice).collect();
        seed_spread(&changes, 1.0 - options.alpha)
    };
    let spreads = Metric::ALL
        .iter()
        .enumerate()
        .map(|(at, &metric)| Ok((metric, spread(at)?)))
        .collect::<Result<_, StatsError>>()?;
    Ok((compared.remove(0), spreads))
}

/// One column a metric, in the order of [`Metric::ALL`].
struct Table {
    columns: Vec<Vec<f64>>,
    short: Vec<usize>,
    /// Scores are averages of several runs, so no metric is yes or no.
    averaged: bool,
}

impl Table {
    fn of(rows: &[RowScore]) -> Self {
        let column = |metric: &Metric| rows.iter().map(|row| metric.of(row)).collect();
        Self {
            columns: Metric::ALL.iter().map(column).collect(),
            short: (0..rows.len()).filter(|&row| rows[row].short).collect(),
            averaged: false,
        }
    }

    fn mean(runs: &[Self]) -> Result<Self, StatsError> {
        let column = |at: usize| {
            let columns: Vec<&[f64]> = runs.iter().map(|run| &*run.columns[at]).collect();
            mean_over_seeds(&columns)
        };
        let columns = (0..Metric::ALL.len())
            .map(column)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            columns,
            short: runs[0].short.clone(),
            averaged: runs.len() > 1,
        })
    }

    /// The rows of these numbers.
    fn subset(&self, rows: &[usize]) -> Self {
        let column = |of: &Vec<f64>| rows.iter().map(|&row| of[row]).collect();
        Self {
            columns: self.columns.iter().map(column).collect(),
            short: Vec::new(),
            averaged: self.averaged,
        }
    }

    fn against<'a>(&'a self, before: &'a Self) -> Vec<MetricPair<'a>> {
        let columns = before.columns.iter().zip(&self.columns);
        let metrics = Metric::ALL.iter().zip(columns);
        metrics
            .map(|(metric, (before, after))| MetricPair {
                name: metric.name(),
                kind: if metric.is_binary() && !self.averaged {
                    Kind::Binary
                } else {
                    Kind::Score
                },
                before,
                after,
            })
            .collect()
    }
}

fn compare_tables(
    before: &Table,
    candidates: &[Table],
    clusters: &Clusters,
    options: &CompareOptions,
) -> Result<Vec<RowsComparison>, StatsError> {
    let all = compare_all_metrics(before, candidates, clusters, options)?;
    let short = if before.short.is_empty() {
        vec![None; all.len()]
    } else {
        let rows = &before.short;
        let candidates: Vec<_> = candidates.iter().map(|table| table.subset(rows)).collect();
        let clusters = clusters.subset(rows.iter().copied());
        let short = compare_all_metrics(&before.subset(rows), &candidates, &clusters, options)?;
        short.into_iter().map(Some).collect()
    };
    let both = all.into_iter().zip(short);
    Ok(both
        .map(|(all, short)| RowsComparison { all, short })
        .collect())
}

fn compare_all_metrics(
    before: &Table,
    candidates: &[Table],
    clusters: &Clusters,
    options: &CompareOptions,
) -> Result<Vec<PairedComparison>, StatsError> {
    let pairs: Vec<_> = candidates
        .iter()
        .map(|table| table.against(before))
        .collect();
    let pairs: Vec<&[MetricPair<'_>]> = pairs.iter().map(Vec::as_slice).collect();
    compare_systems(&pairs, Some(clusters), options)
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

    #[test]
    fn seeds_are_averaged_and_no_longer_yes_or_no() {
        let score = |prediction: &str| score_row("Paris", prediction, &ScoreOptions::default());
        let before = [score("Rome"), score("Rome")];
        let (one, two) = (
            [score("Paris"), score("Rome")],
            [score("Paris"), score("Paris")],
        );
        let alone = Clusters::sharing([[0], [1]]);
        let options = CompareOptions::default();
        let (compared, spreads) =
            compare_rows_seeds(&before, &[&one, &two], &alone, &options).expect("valid");
        let em = compared.all.metric("em").expect("there");
        assert_eq!((em.after, em.test), (0.75, "exact sign-flip permutation"));
        let (metric, spread) = &spreads[0];
        assert_eq!((metric.name(), &spread.means), ("em", &vec![0.5, 1.0]));
        assert!(compare_rows_seeds(&before, &[], &alone, &options).is_err());
        assert!(compare_rows_seeds(&before, &[&one, &one[..1]], &alone, &options).is_err());
    }
}
