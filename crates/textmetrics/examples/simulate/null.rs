//! How often a test finds a difference where there is none.

use super::draw::Draw;
use rayon::prelude::*;
use textmetrics::stats::{
    Clusters, CompareOptions, Kind, MetricPair, StatsError, compare_paired_clustered, equivalence,
    mcnemar, sign_flip, sign_test,
};

const ALPHA: f64 = 0.05;
/// Random sign patterns of a sampled sign-flip test.
const PATTERNS: usize = 999;

/// A test, under a null that swaps the two systems at random per row (or cluster of rows).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Test {
    McNemar,
    SignFlip,
    Signs,
    /// Rows come in clusters of 1 to 4 that are swapped as one.
    ClusteredSignFlip,
    /// The same rows with the clusters left out of account: what the clustered test is there for.
    SignFlipDespiteClusters,
    /// Equivalence within 0.05, where the true difference is exactly 0.05.
    Tost,
    /// The same for rows that change all one way and rarely: a yes/no metric.
    TostOfRates,
    /// The same for a score that changes on few rows, as a whole.
    TostOfFew,
    /// The same where clusters change as one.
    ClusteredTost,
}

impl Test {
    pub(crate) const ALL: [Self; 9] = [
        Self::McNemar,
        Self::SignFlip,
        Self::Signs,
        Self::ClusteredSignFlip,
        Self::SignFlipDespiteClusters,
        Self::Tost,
        Self::TostOfRates,
        Self::TostOfFew,
        Self::ClusteredTost,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::McNemar => "exact McNemar",
            Self::SignFlip => "sign-flip permutation",
            Self::Signs => "sign test",
            Self::ClusteredSignFlip => "clustered sign-flip",
            Self::SignFlipDespiteClusters => "sign-flip, clusters ignored",
            Self::Tost => "TOST at its boundary",
            Self::TostOfRates => "TOST, one yes/no answer in 20 gained",
            Self::TostOfFew => "TOST, one score in 20 gained",
            Self::ClusteredTost => "TOST, one cluster in 20 gained",
        }
    }

    /// The p-value of one made-up set of `n` rows.
    fn p(self, n: usize, seed: u64) -> Result<f64, StatsError> {
        let mut draw = Draw::new(seed);
        Ok(match self {
            Self::McNemar => {
                let (won, lost) = wins(
                    &(0..n)
                        .map(|_| swapped_binary(&mut draw))
                        .collect::<Vec<_>>(),
                );
                mcnemar(won, lost)
            }
            Self::SignFlip => sign_flip(&swapped(n, &mut draw), PATTERNS, seed)?.p,
            Self::Signs => {
                let (won, lost) = wins(&swapped(n, &mut draw));
                sign_test(won, lost)
            }
            Self::ClusteredSignFlip => {
                let rows = clusters(n, &mut draw);
                let of_row = rows
                    .iter()
                    .enumerate()
                    .flat_map(|(at, rows)| rows.iter().map(move |_| [at]));
                let clusters = Clusters::sharing(of_row);
                sign_flip(&clusters.sums(&rows.concat()), PATTERNS, seed)?.p
            }
            Self::SignFlipDespiteClusters => {
                sign_flip(&clusters(n, &mut draw).concat(), PATTERNS, seed)?.p
            }
            Self::Tost => {
                let noise = (0..n).map(|_| draw.sign() * draw.difference() / 4.0);
                let differences: Vec<f64> = noise.map(|d| d + 0.05).collect();
                equivalence(&differences, 0.05)?.p()
            }
            Self::TostOfRates => gained(Kind::Binary, n, 1, &mut draw)?,
            Self::TostOfFew => gained(Kind::Score, n, 1, &mut draw)?,
            Self::ClusteredTost => gained(Kind::Score, n, 4, &mut draw)?,
        })
    }

    /// The share of `repetitions` sets of `n` rows on which p is at most 5 %.
    pub(crate) fn error_rate(
        self,
        n: usize,
        repetitions: u64,
        seed: u64,
    ) -> Result<f64, StatsError> {
        let found = (0..repetitions)
            .into_par_iter()
            .map(|i| self.p(n, seed + i).map(|p| u64::from(p <= ALPHA)))
            .sum::<Result<u64, _>>()?;
        Ok(found as f64 / repetitions as f64)
    }
}

/// The p-value of equivalence as a comparison gives it, where one cluster of up to `size` rows in 20 is gained and none
/// lost.
fn gained(kind: Kind, n: usize, size: usize, draw: &mut Draw) -> Result<f64, StatsError> {
    let (mut after, mut cluster) = (Vec::with_capacity(n), Vec::with_capacity(n));
    for number in 0.. {
        let rows = (1 + draw.below(size)).min(n - after.len());
        let value = if draw.coin(0.05) { 1.0 } else { 0.0 };
        after.extend(std::iter::repeat_n(value, rows));
        cluster.extend(std::iter::repeat_n([number], rows));
        if after.len() == n {
            break;
        }
    }
    let before = vec![0.0; n];
    let pair = MetricPair {
        name: "score",
        kind,
        before: &before,
        after: &after,
    };
    let options = CompareOptions {
        resamples: 1,
        ..CompareOptions::default()
    };
    let compared = compare_paired_clustered(&[pair], &Clusters::sharing(cluster), &options)?;
    Ok(compared.metrics[0].p_equivalence.unwrap_or(1.0))
}

fn swapped_binary(draw: &mut Draw) -> f64 {
    if draw.coin(0.3) { draw.sign() } else { 0.0 }
}

fn swapped(n: usize, draw: &mut Draw) -> Vec<f64> {
    (0..n).map(|_| draw.sign() * draw.difference()).collect()
}

/// Rows in clusters: those of one cluster lean the same way, and a swap turns all of them.
fn clusters(n: usize, draw: &mut Draw) -> Vec<Vec<f64>> {
    let (mut left, mut out) = (n, Vec::new());
    while left > 0 {
        let size = (1 + draw.below(4)).min(left);
        let sign = draw.sign();
        out.push((0..size).map(|_| sign * draw.difference().abs()).collect());
        left -= size;
    }
    out
}

fn wins(differences: &[f64]) -> (u64, u64) {
    let count = |keep: fn(&f64) -> bool| differences.iter().filter(|d| keep(d)).count() as u64;
    (count(|d| *d > 0.0), count(|d| *d < 0.0))
}
