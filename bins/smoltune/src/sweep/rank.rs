//! Cells in order, with what their seeds allow to say.

use std::cmp::Ordering;

use serde_json::{Value, json};
use stage::{OrExit, StageError};
use textmetrics::stats::{Interval, student_t};

use super::cells::{Cell, Sweep};

const CONFIDENCE: f64 = 0.95;

/// Cells, best first.
#[derive(Debug)]
pub(super) struct Ranked {
    pub(super) rows: Vec<Row>,
}

/// One cell with its scores.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) cell: Cell,
    /// By seed.
    pub(super) scores: Vec<f64>,
    pub(super) mean: f64,
    /// Student's t over seeds; `None` with one.
    pub(super) interval: Option<Interval>,
    /// Mean over seeds of its score minus the best cell's with the same seed, and the interval of
    /// that; `None` for the best.
    pub(super) behind: Option<(f64, Option<Interval>)>,
}

/// Ranks by the mean over seeds; of equal cells, the one that was named first.
///
/// # Errors
/// Never with finite scores.
pub(super) fn rank(sweep: &Sweep, scores: Vec<Vec<f64>>) -> Result<Ranked, StageError> {
    let mut rows = Vec::new();
    for (cell, scores) in sweep.cells.iter().zip(scores) {
        rows.push(Row {
            cell: cell.clone(),
            mean: mean(&scores),
            interval: interval(&scores)?,
            scores,
            behind: None,
        });
    }
    let lower = sweep.metric.lower_is_better();
    rows.sort_by(|a, b| {
        let order = a.mean.partial_cmp(&b.mean).unwrap_or(Ordering::Equal);
        if lower { order } else { order.reverse() }
    });
    let Some((best, others)) = rows.split_first_mut() else {
        return Err(StageError::failed("a sweep without cells"));
    };
    for row in others {
        let pairs = row.scores.iter().zip(&best.scores);
        let differences: Vec<f64> = pairs.map(|(own, best)| own - best).collect();
        row.behind = Some((mean(&differences), interval(&differences)?));
    }
    Ok(Ranked { rows })
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn interval(values: &[f64]) -> Result<Option<Interval>, StageError> {
    if values.len() < 2 {
        return Ok(None);
    }
    student_t(values, CONFIDENCE).or_failed().map(Some)
}

impl Ranked {
    pub(super) fn winner(&self) -> &Cell {
        // `rank` gives at least one.
        &self.rows[0].cell
    }
}

impl Row {
    /// Whether its seeds cannot tell it from the best.
    pub(super) fn may_be_the_best(&self) -> bool {
        match self.behind {
            None => true,
            Some((_, None)) => false,
            Some((_, Some(ci))) => ci.lo <= 0.0 && ci.hi >= 0.0,
        }
    }

    /// As `sweep.json` has it.
    pub(super) fn json(&self, sweep: &Sweep) -> Value {
        let ends = |interval: Option<Interval>| interval.map(|ci| [ci.lo, ci.hi]);
        let seeds = &sweep.config.sweep.seeds;
        let runs: Vec<Value> = seeds
            .iter()
            .zip(&self.scores)
            .map(|(seed, score)| {
                let folder = self.cell.folder(&sweep.config.out, *seed);
                json!({"seed": seed, "score": score, "adapter": folder})
            })
            .collect();
        let values = self.cell.values.iter();
        let values: serde_json::Map<String, Value> = values
            .map(|(key, value)| (key.clone(), serde_json::to_value(value).unwrap_or_default()))
            .collect();
        json!({
            "name": self.cell.name,
            "train": values,
            "mean": self.mean,
            "ci": ends(self.interval),
            "behind": self.behind.map(|(mean, _)| mean),
            "behind_ci": self.behind.and_then(|(_, ci)| ends(ci)),
            "runs": runs,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Config, Overrides};

    fn sweep(metric: &str) -> Sweep {
        let set = [
            "data.val=4",
            "sweep.grid.lora_r=[1, 2, 3]",
            "sweep.seeds=[1, 2, 3]",
        ];
        let mut set: Vec<String> = set.map(String::from).into();
        set.push(format!("sweep.metric={metric}"));
        let flags = Overrides {
            set,
            ..Overrides::default()
        };
        Sweep::new(config::load(&Config::default(), None, &flags, Vec::new()).unwrap()).unwrap()
    }

    #[test]
    fn a_loss_ranks_upwards_a_score_downwards_and_differences_are_paired_by_seed() {
        let scores = || {
            vec![
                vec![3.0, 5.0, 4.0],
                vec![1.0, 3.0, 2.5],
                vec![1.1, 3.1, 2.6],
            ]
        };
        let loss = rank(&sweep("eval_loss"), scores()).unwrap();
        let names: Vec<&str> = loss.rows.iter().map(|row| row.cell.name.as_str()).collect();
        assert_eq!(names, ["lora_r=2", "lora_r=3", "lora_r=1"]);
        // mean ± t · sd / √3 of [1, 3, 2.5], with the 0.975 quantile t = 4.302 652 73 for 2 degrees.
        let ci = loss.rows[0].interval.unwrap();
        let near = |a: f64, b: f64| (a - b).abs() < 1e-8;
        assert!(
            near(ci.lo, -0.418_905_840) && near(ci.hi, 4.752_239_173),
            "{ci:?}"
        );
        // Far apart in themselves, the seeds agree on the difference.
        let (mean, ci) = loss.rows[1].behind.unwrap();
        assert!((mean - 0.1).abs() < 1e-9 && (ci.unwrap().lo - 0.1).abs() < 1e-6);
        assert!(!loss.rows[1].may_be_the_best() && loss.rows[0].may_be_the_best());

        let f1 = rank(&sweep("f1"), scores()).unwrap();
        assert_eq!(f1.winner().name, "lora_r=1");
    }
}
