//! What else could explain a change: the length of the answers, or chance between two runs of one model.

use std::collections::BTreeMap;

use evaluate::Prediction;
use textmetrics::stats::{
    CompareOptions, LengthControl, MetricComparison, NoiseFloor, StatsError, TIE, Verdict,
    length_control, noise_floor,
};
use textmetrics::{Metric, RowScore};

use crate::Comparison;

/// Metrics that length alone can move.
const LENGTH_BOUND: [Metric; 2] = [Metric::F1, Metric::RougeLsum];

/// Length control by metric, where the rows can say.
pub(crate) fn lengths(
    rows: [&[Prediction]; 2],
    scores: [&[RowScore]; 2],
    options: &CompareOptions,
) -> Result<BTreeMap<&'static str, LengthControl>, StatsError> {
    let words = |row: &Prediction| row.prediction.split_whitespace().count() as f64;
    let changes: Vec<f64> = rows[0]
        .iter()
        .zip(rows[1])
        .map(|(before, after)| ((words(after) + 1.0) / (words(before) + 1.0)).ln())
        .collect();
    let mut found = BTreeMap::new();
    for metric in LENGTH_BOUND {
        let control = length_control(&changes, &differences(metric, scores), 1.0 - options.alpha)?;
        found.extend(control.map(|control| (metric.name(), control)));
    }
    Ok(found)
}

/// The noise floor of every metric from two runs of one system.
pub(crate) fn noise(
    scores: [&[RowScore]; 2],
    options: &CompareOptions,
) -> Result<BTreeMap<&'static str, NoiseFloor>, StatsError> {
    Metric::ALL
        .into_iter()
        .map(|metric| {
            let floor = noise_floor(&differences(metric, scores), 1.0 - options.alpha)?;
            Ok((metric.name(), floor))
        })
        .collect()
}

fn differences(metric: Metric, [before, after]: [&[RowScore]; 2]) -> Vec<f64> {
    let pairs = before.iter().zip(after);
    pairs
        .map(|(before, after)| metric.of(after) - metric.of(before))
        .map(|d| if d.abs() > TIE { d } else { 0.0 })
        .collect()
}

/// A metric at matched length, and a warning where its verdict may be one on length alone.
fn matched(metric: &MetricComparison, control: &LengthControl) -> String {
    let [low, high] = control.matched_ci;
    let claimed = matches!(metric.verdict, Verdict::Better | Verdict::Worse);
    let doubt = if claimed && low < 0.0 && high > 0.0 {
        " This interval holds 0: the change may be one of length alone."
    } else {
        ""
    };
    format!(
        "{} where answers are as long as before: {:+.4} [{low:+.4}, {high:+.4}]; changes of score and of length correlate with r = {:.2} (Spearman {:.2}).{doubt}",
        label(&metric.name),
        control.matched_delta,
        control.pearson,
        control.spearman
    )
}

/// What a person calls the metric.
fn label(name: &str) -> &str {
    let metric = Metric::ALL.iter().find(|metric| metric.name() == name);
    metric.map_or(name, |metric| metric.label())
}

/// Both in words.
pub(crate) fn notes(comparison: &Comparison) -> Vec<String> {
    let mut notes = Vec::new();
    for (name, control) in &comparison.length_control {
        notes.extend(
            comparison
                .figures
                .all
                .metric(name)
                .map(|metric| matched(metric, control)),
        );
    }
    if let Some(floor) = &comparison.noise_floor {
        let moved = comparison.figures.all.metrics.iter().filter_map(|metric| {
            let floor = floor.get(metric.name.as_str())?;
            Some((label(&metric.name), metric.delta.abs() <= floor.bound))
        });
        let (within, beyond): (Vec<_>, Vec<_>) = moved.partition(|(_, within)| *within);
        let names = |of: Vec<(&str, bool)>| {
            let names: Vec<&str> = of.into_iter().map(|(name, _)| name).collect();
            Some(names.join(", "))
                .filter(|names| !names.is_empty())
                .unwrap_or_else(|| "none".to_owned())
        };
        notes.push(format!(
            "Within what a second run of the first system changes by itself: {}. Beyond it: {}.",
            names(within),
            names(beyond)
        ));
    }
    notes
}
