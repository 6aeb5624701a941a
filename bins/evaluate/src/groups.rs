//! The scores of all rows and of the groups that they fall into.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use textmetrics::stats::{StatsError, mean_interval, wilson};
use textmetrics::{Metric, Metrics, RowScore, ScoreOptions, Summary};

use crate::Prediction;

const CONFIDENCE: f64 = 0.95;
const RESAMPLES: usize = 2000;

/// The means over some of the rows, how sure they are, and how long the answers were.
#[derive(Clone, Debug, Serialize)]
pub struct Group {
    /// `all`, `short`, `clean`, `context=with`, `context=without`, or `category=` and its name.
    pub name: String,
    /// The means.
    #[serde(flatten)]
    pub metrics: Metrics,
    /// 95 % intervals by metric: Wilson for rates, bootstrap-t (Student t over 500 rows) for means.
    pub intervals: BTreeMap<&'static str, [f64; 2]>,
    /// Lengths and endings.
    pub lengths: Lengths,
}

/// How long answers are, and how they ended. Words are what white space separates.
#[derive(Clone, Debug, Serialize)]
pub struct Lengths {
    /// Mean words of the gold answer.
    pub gold_words: f64,
    /// Mean words of the prediction.
    pub prediction_words: f64,
    /// All words predicted over all words of gold answers; `None` without any of the latter.
    pub ratio: Option<f64>,
    /// Share of predictions without a word.
    pub empty: f64,
    /// Share that ended by itself, of the rows that say how they ended.
    pub stopped: Option<f64>,
    /// Share that was cut off at the token limit, of the same.
    pub cut_off: Option<f64>,
}

/// All groups that have a row: the whole first, then subsets, then categories by name.
///
/// # Errors
/// None for scores that [`textmetrics`] made.
pub fn groups(
    predictions: &[Prediction],
    rows: &[RowScore],
    options: &ScoreOptions,
) -> Result<Vec<Group>, StatsError> {
    let by_name = names(predictions, rows);
    by_name
        .into_iter()
        .map(|(name, members)| group(name, &members, predictions, rows, options))
        .collect()
}

/// Each group's name and row numbers, in the order of the output.
fn names(predictions: &[Prediction], rows: &[RowScore]) -> Vec<(String, Vec<usize>)> {
    let all = 0..rows.len();
    let with = |keep: &dyn Fn(usize) -> bool| all.clone().filter(|&i| keep(i)).collect::<Vec<_>>();
    let about = |i: usize| !predictions[i].context.trim().is_empty();
    let mut found = vec![
        ("all".to_owned(), all.clone().collect()),
        ("short".to_owned(), with(&|i| rows[i].short)),
    ];
    if predictions.iter().any(|row| row.leak.is_some()) {
        found.push(("clean".to_owned(), with(&|i| predictions[i].leak.is_none())));
    }
    found.push(("context=with".to_owned(), with(&about)));
    found.push(("context=without".to_owned(), with(&|i| !about(i))));
    let categories: BTreeSet<&str> = predictions
        .iter()
        .filter_map(|row| row.category.as_deref())
        .collect();
    found.extend(categories.into_iter().map(|category| {
        let members = with(&|i| predictions[i].category.as_deref() == Some(category));
        (format!("category={category}"), members)
    }));
    found.retain(|(_, members)| !members.is_empty());
    found
}

fn group(
    name: String,
    members: &[usize],
    predictions: &[Prediction],
    rows: &[RowScore],
    options: &ScoreOptions,
) -> Result<Group, StatsError> {
    let summary: Summary = members.iter().map(|&i| &rows[i]).collect();
    let mut intervals = BTreeMap::new();
    for metric in Metric::ALL {
        let values: Vec<f64> = members.iter().map(|&i| metric.of(&rows[i])).collect();
        if let Some(ends) = interval(metric, &values)? {
            intervals.insert(metric.name(), ends);
        }
    }
    Ok(Group {
        name,
        metrics: summary.scores(options).all,
        intervals,
        lengths: lengths(members.iter().map(|&i| &predictions[i])),
    })
}

fn interval(metric: Metric, values: &[f64]) -> Result<Option<[f64; 2]>, StatsError> {
    let n = values.len();
    let interval = if metric.is_binary() {
        let right = values.iter().filter(|v| **v == 1.0).count();
        wilson(right as u64, n as u64, CONFIDENCE)?
    } else if n < 2 {
        return Ok(None);
    } else {
        mean_interval(values, CONFIDENCE, RESAMPLES, 0)?.clamp(0.0, 1.0)
    };
    Ok(Some([interval.lo, interval.hi]))
}

fn lengths<'a>(rows: impl Iterator<Item = &'a Prediction>) -> Lengths {
    let (mut n, mut gold, mut predicted, mut empty) = (0u32, 0usize, 0usize, 0u32);
    let (mut known, mut stopped, mut cut_off) = (0u32, 0u32, 0u32);
    for row in rows {
        let words = row.prediction.split_whitespace().count();
        n += 1;
        gold += row.gold.split_whitespace().count();
        predicted += words;
        empty += u32::from(words == 0);
        known += u32::from(row.finish_reason.is_some());
        stopped += u32::from(row.finish_reason.as_deref() == Some("stop"));
        cut_off += u32::from(row.finish_reason.as_deref() == Some("length"));
    }
    let of_known = |count: u32| (known > 0).then(|| f64::from(count) / f64::from(known));
    Lengths {
        gold_words: gold as f64 / f64::from(n),
        prediction_words: predicted as f64 / f64::from(n),
        ratio: (gold > 0).then(|| predicted as f64 / gold as f64),
        empty: f64::from(empty) / f64::from(n),
        stopped: of_known(stopped),
        cut_off: of_known(cut_off),
    }
}
