//! One metric, before against after.

use super::super::binomial;
use super::super::cluster::Clusters;
use super::super::equivalence::{equivalence, score_tests};
use super::super::error::StatsError;
use super::super::interval::{Interval, mean_interval, mean_sd, newcombe_paired};
use super::super::plan::Plan;
use super::super::sign_flip::sign_flip;
use super::super::verdict::Verdict;
use super::{CompareOptions, Kind, MetricComparison, MetricPair, TIE};

/// Everything about one metric but the adjusted p-value and the verdict, which need the others.
pub(super) fn compare_one(
    metric: &MetricPair<'_>,
    clusters: Option<&Clusters>,
    plan: &Plan,
    options: &CompareOptions,
) -> Result<MetricComparison, StatsError> {
    let differences: Vec<f64> = metric
        .after
        .iter()
        .zip(metric.before)
        .map(|(after, before)| {
            Some(after - before)
                .filter(|d| d.abs() > TIE)
                .unwrap_or(0.0)
        })
        .collect();
    let n = differences.len() as u64;
    let wins = differences.iter().filter(|d| **d > 0.0).count() as u64;
    let losses = differences.iter().filter(|d| **d < 0.0).count() as u64;
    let (delta, sd_delta) = mean_sd(&differences);
    let units = Units::new(&differences, clusters);
    let (p, test) = test_of(metric.kind, &units, wins, losses, options)?;
    let ci = interval_of(metric, &units, options)?;
    let (_, sd_unit) = mean_sd(&units.values);
    Ok(MetricComparison {
        name: metric.name.into(),
        before: mean_sd(metric.before).0,
        after: mean_sd(metric.after).0,
        delta,
        ci,
        ci_method: ci.map(|ci| match clusters {
            Some(_) => format!("{} over clusters", ci.method),
            None => ci.method.to_string(),
        }),
        p,
        p_holm: p,
        test,
        wins,
        ties: n - wins - losses,
        losses,
        p_sign: units.sign_test(),
        p_equivalence: equivalence_of(metric.kind, &units, sd_unit, options.margin)?,
        sd_delta,
        mde: plan.mde(sd_unit),
        rows_needed: plan.rows_needed(metric.kind, sd_unit, units.changed_share())?,
        verdict: Verdict::CannotTell,
        says: String::new(),
    })
}

/// Below this many changed units the spread that a t test estimates is too small to claim sameness by.
const FEW_CHANGED: usize = 30;

/// The p-value of "no difference as large as the margin"; `None` where nothing bounds what few changed units hide.
/// Without any change there is nothing to test: the verdict is "same".
fn equivalence_of(
    kind: Kind,
    units: &Units,
    sd: f64,
    margin: f64,
) -> Result<Option<f64>, StatsError> {
    let changed = units.changed();
    if units.values.len() < 2 || changed == 0 {
        return Ok(None);
    }
    let scores = match kind {
        Kind::Binary | Kind::Score => units.score_tests(margin),
        Kind::Free => None,
    };
    if kind == Kind::Binary && !units.clustered {
        return Ok(scores);
    }
    if sd == 0.0 {
        return Ok(None);
    }
    let by_t = equivalence(&units.values, margin)?.p();
    Ok(if changed < FEW_CHANGED {
        scores.map(|p| p.max(by_t))
    } else {
        Some(by_t)
    })
}

fn test_of(
    kind: Kind,
    units: &Units,
    wins: u64,
    losses: u64,
    options: &CompareOptions,
) -> Result<(f64, &'static str), StatsError> {
    if kind == Kind::Binary && !units.clustered {
        return Ok((binomial::mcnemar(wins, losses), "exact McNemar"));
    }
    let flipped = sign_flip(&units.sums, options.resamples, options.seed)?;
    Ok((
        flipped.p,
        match (units.clustered, flipped.exact) {
            (false, true) => "exact sign-flip permutation",
            (false, false) => "sign-flip permutation (sampled)",
            (true, true) => "exact clustered sign-flip permutation",
            (true, false) => "clustered sign-flip permutation (sampled)",
        },
    ))
}

fn interval_of(
    metric: &MetricPair<'_>,
    units: &Units,
    options: &CompareOptions,
) -> Result<Option<Interval>, StatsError> {
    let confidence = 1.0 - options.alpha;
    if metric.kind == Kind::Binary && !units.clustered {
        let count = |b: f64, a: f64| {
            metric
                .before
                .iter()
                .zip(metric.after)
                .filter(|(before, after)| **before == b && **after == a)
                .count() as u64
        };
        let (both, before, after, neither) = (
            count(1.0, 1.0),
            count(1.0, 0.0),
            count(0.0, 1.0),
            count(0.0, 0.0),
        );
        return newcombe_paired(both, before, after, neither, confidence).map(Some);
    }
    if units.values.len() < 2 {
        return Ok(None);
    }
    let interval = mean_interval(&units.values, confidence, options.resamples, options.seed)?;
    Ok(Some(match metric.kind {
        Kind::Binary | Kind::Score => interval.clamp(-1.0, 1.0),
        Kind::Free => interval,
    }))
}

/// What is independent: rows, or clusters of them.
struct Units {
    clustered: bool,
    /// Their differences, for tests that flip or count signs.
    sums: Vec<f64>,
    /// Values whose mean is the mean of all rows, for whatever is asked of a mean.
    values: Vec<f64>,
    /// Rows of all units.
    rows: f64,
    /// Rows of the largest unit: no sum of shares is larger.
    largest: f64,
}

impl Units {
    fn new(differences: &[f64], clusters: Option<&Clusters>) -> Self {
        let whole = |d: f64| Some(d).filter(|d| d.abs() > TIE).unwrap_or(0.0);
        match clusters {
            None => Self {
                clustered: false,
                sums: differences.to_vec(),
                values: differences.to_vec(),
                rows: differences.len() as f64,
                largest: 1.0,
            },
            Some(clusters) => Self {
                clustered: true,
                sums: clusters.sums(differences).into_iter().map(whole).collect(),
                values: clusters.linearised(differences),
                rows: differences.len() as f64,
                largest: clusters.largest() as f64,
            },
        }
    }

    fn sign_test(&self) -> f64 {
        let count = |keep: fn(&f64) -> bool| self.sums.iter().filter(|d| keep(d)).count() as u64;
        binomial::sign_test(count(|d| *d > 0.0), count(|d| *d < 0.0))
    }
    fn changed(&self) -> usize {
        self.sums.iter().filter(|d| **d != 0.0).count()
    }

    fn changed_share(&self) -> f64 {
        self.changed() as f64 / self.sums.len() as f64
    }

    /// Score tests of equivalence on the units, each as a part of the largest. `None` where a margin this wide can
    /// exclude nothing.
    fn score_tests(&self, margin: f64) -> Option<f64> {
        let part = |keep: fn(&f64) -> bool| {
            let kept = self.sums.iter().filter(|d| keep(d));
            kept.map(|d| d.abs()).sum::<f64>() / self.largest
        };
        let units = self.sums.len() as f64;
        let margin = margin * self.rows / (units * self.largest);
        (margin < 1.0)
            .then(|| score_tests(part(|d| *d > 0.0), part(|d| *d < 0.0), units, margin).p())
    }
}
