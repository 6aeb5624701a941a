//! What the figures say, in words.

use std::fmt;

use serde::Serialize;

use super::paired::{CompareOptions, MetricComparison};

/// What may be said about one metric, or about all of them together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The second system is better: adjusted p at most alpha.
    Better,
    /// The second system is worse.
    Worse,
    /// Overall only: better in some metrics, worse in others.
    Mixed,
    /// The same score on every row.
    Same,
    /// Shown to be no difference larger than [`CompareOptions::margin`], either way.
    NoDifference,
    /// Neither a difference nor its absence has been shown.
    CannotTell,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Mixed => "mixed",
            Self::Same => "same on every row",
            Self::NoDifference => "no difference that matters",
            Self::CannotTell => "cannot tell",
        })
    }
}

/// The verdict on one metric, from figures that are already filled in. `p_equivalence` is adjusted for the other
/// metrics, as a claim of sameness is one of several too.
pub(super) fn of_metric(
    metric: &MetricComparison,
    p_equivalence: Option<f64>,
    options: &CompareOptions,
) -> Verdict {
    if metric.wins + metric.losses == 0 {
        Verdict::Same
    } else if metric.p_holm <= options.alpha && metric.delta > 0.0 {
        Verdict::Better
    } else if metric.p_holm <= options.alpha && metric.delta < 0.0 {
        Verdict::Worse
    } else if p_equivalence.is_some_and(|p| p <= options.alpha) {
        Verdict::NoDifference
    } else {
        Verdict::CannotTell
    }
}

/// The verdict on all metrics. Adjusted p-values make any single claim safe, so one clear metric decides; without one
/// the least that is known of any metric that changed is what is known overall.
pub(super) fn overall(metrics: &[MetricComparison]) -> Verdict {
    let any = |verdict| metrics.iter().any(|m| m.verdict == verdict);
    match (any(Verdict::Better), any(Verdict::Worse)) {
        (true, true) => Verdict::Mixed,
        (true, false) => Verdict::Better,
        (false, true) => Verdict::Worse,
        (false, false) if any(Verdict::CannotTell) => Verdict::CannotTell,
        (false, false) if any(Verdict::NoDifference) => Verdict::NoDifference,
        (false, false) => Verdict::Same,
    }
}

/// One plain sentence (without a full stop) for a metric.
pub(super) fn sentence(metric: &MetricComparison, n: usize, options: &CompareOptions) -> String {
    let effect = options.effect;
    match metric.verdict {
        Verdict::Better | Verdict::Worse | Verdict::Mixed => {
            format!(
                "{} by {:.4} ({})",
                metric.verdict,
                metric.delta.abs(),
                p_text(metric.p_holm)
            )
        }
        Verdict::Same => "same on every row".into(),
        Verdict::NoDifference => format!("no difference larger than {}", options.margin),
        Verdict::CannotTell => match metric.rows_needed {
            Some(rows) if rows <= n as u64 => cannot_exclude(metric),
            Some(rows) => {
                format!("cannot tell: about {rows} rows would be needed to see +{effect}")
            }
            None => "cannot tell: too few rows to say how many would be needed".into(),
        },
    }
}

/// One plain sentence (without a full stop) for all metrics together.
pub(super) fn overall_sentence(
    metrics: &[MetricComparison],
    n: usize,
    verdict: Verdict,
    options: &CompareOptions,
) -> String {
    let named = |verdict: Verdict| {
        let of: Vec<&str> = metrics
            .iter()
            .filter(|m| m.verdict == verdict)
            .map(|m| m.name.as_str())
            .collect();
        of.join(", ")
    };
    let (effect, count) = (options.effect, metrics.len());
    match verdict {
        Verdict::Better | Verdict::Worse => {
            format!(
                "{verdict} in {} (of {count} metrics, adjusted for looking at all)",
                named(verdict)
            )
        }
        Verdict::Mixed => {
            format!(
                "better in {}, worse in {}",
                named(Verdict::Better),
                named(Verdict::Worse)
            )
        }
        Verdict::Same => "the same scores on every row".into(),
        Verdict::NoDifference => {
            format!("no difference larger than {} in any metric", options.margin)
        }
        Verdict::CannotTell => cannot_tell(metrics, n, effect),
    }
}

/// With rows enough for the effect asked about, what is left open is how small the difference is.
fn cannot_exclude(metric: &MetricComparison) -> String {
    match metric.ci {
        Some(ci) => format!(
            "cannot tell: anything from {:+.4} to {:+.4} fits these rows",
            ci.lo, ci.hi
        ),
        None => "cannot tell".into(),
    }
}

fn cannot_tell(metrics: &[MetricComparison], n: usize, effect: f64) -> String {
    let rows = || {
        let open = metrics.iter().filter(|m| m.verdict == Verdict::CannotTell);
        open.filter_map(|m| m.rows_needed)
            .filter(|rows| *rows > n as u64)
    };
    let from = if n == 1 {
        "one row".into()
    } else {
        format!("{n} rows")
    };
    match (rows().min(), rows().max()) {
        (Some(low), Some(high)) if low < high => format!(
            "cannot tell from {from}: about {low} to {high} rows, depending on the metric, would be needed to see +{effect}"
        ),
        (Some(rows), _) => {
            format!("cannot tell from {from}: about {rows} rows would be needed to see +{effect}")
        }
        _ => format!("cannot tell from {from}"),
    }
}

fn p_text(p: f64) -> String {
    if p < 0.0001 {
        "p < 0.0001".into()
    } else {
        format!("p = {p:.4}")
    }
}
