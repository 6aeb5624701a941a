//! What a trained cell is ranked by: its loss on the validation rows, or scores of its answers.

use serde_json::Value;
use stage::StageError;

use super::cells::{Cell, Sweep};
use super::read_step_json;
use crate::config::{Config, nearest};
use crate::run::{self, plan};

/// What cells are ranked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Metric {
    /// Mean negative log-likelihood of the validation rows' supervised tokens.
    EvalLoss,
    /// A mean of scores of answers to them.
    Answers(textmetrics::Metric),
}

impl Metric {
    /// The metric of that name.
    ///
    /// # Errors
    /// Exit code 2, with the nearest name or all.
    pub(super) fn named(name: &str) -> Result<Self, StageError> {
        if name == "eval_loss" {
            return Ok(Self::EvalLoss);
        }
        let all = textmetrics::Metric::ALL;
        if let Some(metric) = all.iter().find(|metric| metric.name() == name) {
            return Ok(Self::Answers(*metric));
        }
        let names = || std::iter::once("eval_loss").chain(all.iter().map(|metric| metric.name()));
        let meant = nearest(name, names());
        let meant = meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
        let known = names().collect::<Vec<_>>().join(", ");
        Err(StageError::usage(format!(
            "sweep.metric is {name:?}{meant} (known are {known})"
        )))
    }

    pub(super) fn lower_is_better(self) -> bool {
        self == Self::EvalLoss
    }

    /// In words.
    pub(super) fn label(self) -> String {
        match self {
            Self::EvalLoss => "validation loss".into(),
            Self::Answers(metric) => {
                format!("{} of answers to the validation rows", metric.label())
            }
        }
    }
}

/// The score of a cell that has been trained with this seed.
///
/// # Errors
/// Those of the steps; a score that is missing or no finite number.
pub(super) fn score(
    sweep: &Sweep,
    cell: &Cell,
    seed: u64,
    config: &Config,
) -> Result<f64, StageError> {
    let out = &sweep.config.out;
    let folder = cell.folder(out, seed);
    let (path, found) = match sweep.metric {
        Metric::EvalLoss => {
            let path = folder.join("manifest.json");
            let facts = &read_step_json(&path)?["facts"];
            (path, loss(facts))
        }
        Metric::Answers(metric) => {
            let rows = out.join("data/val.jsonl");
            let (answers, scores) = (folder.join("val.jsonl"), folder.join("val-scores.json"));
            let name = |what: &str| format!("{}.{what}", cell.step(seed));
            let answer = plan::answer(&name("val"), config, Some(&folder), &rows, &answers);
            run::do_step(&answer, out)?;
            run::do_step(
                &plan::evaluate(&name("score"), config, &answers, &scores),
                out,
            )?;
            let all = &read_step_json(&scores)?["all"];
            (scores, all[metric.name()].as_f64())
        }
    };
    found.filter(|score| score.is_finite()).ok_or_else(|| {
        let what = sweep.metric.label();
        StageError::failed(format!("{} has no {what}", path.display()))
    })
}

/// The evaluation loss of the adapter that was kept: the last one, or the best one.
fn loss(facts: &Value) -> Option<f64> {
    if facts["loaded_best"] == true {
        facts["best"]["eval_loss"].as_f64()
    } else {
        facts["eval_loss"].as_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_loss_is_that_of_the_adapter_that_was_kept() {
        let facts = |best: bool| json!({"loaded_best": best, "eval_loss": 2.0, "best": {"eval_loss": 1.0, "step": 3}});
        assert_eq!(
            (loss(&facts(false)), loss(&facts(true))),
            (Some(2.0), Some(1.0))
        );
        assert_eq!(loss(&json!({"eval_loss": null})), None);
    }
}
