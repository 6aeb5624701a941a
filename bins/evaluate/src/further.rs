//! Metrics asked for by name, beside those of every run.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;
use stage::StageError;
use textmetrics::metrics::{self, AnyMetric, AnyStats};
use textmetrics::stats::percentile_bootstrap;

use crate::Prediction;

const CONFIDENCE: f64 = 0.95;

/// One metric over the rows so far.
struct Asked {
    name: String,
    metric: AnyMetric,
    total: AnyStats,
    /// Each row's statistics, where resamples of them are wanted.
    rows: Vec<AnyStats>,
}

/// The metrics of `--metrics`.
pub(crate) struct Further {
    asked: Vec<Asked>,
    resamples: usize,
}

/// One metric of all rows.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    score: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<[f64; 2]>,
    signature: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// Checks a name for the command line.
pub(crate) fn name(text: &str) -> Result<String, String> {
    metrics::parse(text)
        .map(|metric| metric.name())
        .map_err(|e| e.to_string())
}

impl Further {
    /// No rows yet. `resamples` of 0 means no intervals.
    pub(crate) fn new(names: &[String], resamples: usize) -> Result<Self, StageError> {
        let asked = names.iter().map(|name| {
            let metric = metrics::parse(name).map_err(StageError::usage)?;
            Ok(Asked {
                name: name.clone(),
                total: metric.zero(),
                metric,
                rows: Vec::new(),
            })
        });
        Ok(Self {
            asked: asked.collect::<Result<_, StageError>>()?,
            resamples,
        })
    }

    /// Counts rows.
    pub(crate) fn push(&mut self, rows: &[Prediction]) -> Result<(), StageError> {
        for asked in &mut self.asked {
            let measured = metrics::measure(&asked.name, rows, |row| {
                let gold = std::iter::once(&row.gold).chain(&row.more_gold);
                (gold.map(String::as_str).collect(), &row.prediction)
            });
            let measured = measured.map_err(StageError::failed)?;
            asked
                .total
                .merge(&measured.total)
                .map_err(StageError::failed)?;
            if self.resamples > 0 && asked.metric.can_be_resampled() {
                asked.rows.extend(measured.rows);
            }
        }
        Ok(())
    }

    /// The figures by name; `None` where no metric was asked for.
    pub(crate) fn figures(&self, seed: u64) -> Result<Option<BTreeMap<&str, Figure>>, StageError> {
        let mut figures = BTreeMap::new();
        for asked in &self.asked {
            figures.insert(asked.name.as_str(), asked.figure(self.resamples, seed)?);
        }
        Ok(Some(figures).filter(|figures| !figures.is_empty()))
    }
}

impl Asked {
    fn figure(&self, resamples: usize, seed: u64) -> Result<Figure, StageError> {
        let score = self.metric.score(&self.total);
        let interval = match score {
            Some(_) if resamples > 0 && self.metric.can_be_resampled() => {
                self.interval(resamples, seed)?
            }
            _ => None,
        };
        Ok(Figure {
            score,
            interval,
            signature: self.metric.signature(&self.total),
            note: self.metric.note(&self.total),
        })
    }

    /// `None` where the score of some resample is not defined.
    fn interval(&self, resamples: usize, seed: u64) -> Result<Option<[f64; 2]>, StageError> {
        let mut defined = true;
        let score = |rows: &[usize]| {
            let mut total = self.metric.zero();
            for &row in rows {
                defined &= total.merge(&self.rows[row]).is_ok();
            }
            let score = self.metric.score(&total);
            defined &= score.is_some();
            score.unwrap_or(0.0)
        };
        let found = percentile_bootstrap(self.rows.len(), CONFIDENCE, resamples, seed, score)
            .map_err(StageError::failed)?;
        Ok(defined.then_some([found.lo, found.hi]))
    }
}

/// The figures as lines for people.
pub(crate) fn lines(figures: &BTreeMap<&str, Figure>) -> String {
    let mut out = String::from("\n-- Further Metrics --");
    for (name, figure) in figures {
        let Figure {
            score,
            interval,
            signature,
            note,
        } = figure;
        let score = score.map_or("not defined".to_owned(), |score| format!("{score:.4}"));
        let _ = write!(out, "\n{name}: {score}");
        if let Some([low, high]) = interval {
            let _ = write!(out, " [{low:.4}, {high:.4}]");
        }
        if let Some(note) = note {
            let _ = write!(out, " {note}");
        }
        let _ = write!(out, " ({signature})");
    }
    out
}
