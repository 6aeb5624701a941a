//! What a run is evaluated on, and what beside the loss is measured then.

use crate::error::TrainError;
use crate::sample::{Packed, Sample, check_all};
use crate::train::OnEvent;
use crate::trainable::{Trainable, without_graph};
use crate::{TrainConfig, TrainEvent};
use smollm_model::{Llama, Mode};
use std::collections::BTreeMap;
use std::error::Error;
use std::ops::ControlFlow;

/// Measures by name, such as `eval_token_f1`.
pub type Measures = BTreeMap<String, f64>;

/// Measures an adapter in another way than by its loss, such as by the answers that it generates. This crate knows none:
/// how to generate and how to score are the caller's.
pub trait Scorer {
    /// The names of the measures, `eval_` in front as transformers has them.
    fn names(&self) -> Vec<String>;

    /// All measures of the adapter as it stands, each finite; `Break` where the run is to end. The same adapter must
    /// give the same numbers, so that a run that was interrupted goes on as if it had not been.
    ///
    /// # Errors
    /// Whatever keeps it from measuring: the run ends with it.
    fn score(
        &mut self,
        trainable: &Trainable,
    ) -> Result<ControlFlow<(), Measures>, Box<dyn Error + Send + Sync>>;
}

/// The rows of which the loss is computed, and further measures.
pub struct Evaluation<'a> {
    pub(crate) rows: &'a [Sample],
    scorer: Option<&'a mut dyn Scorer>,
}

impl<'a> From<&'a [Sample]> for Evaluation<'a> {
    fn from(rows: &'a [Sample]) -> Self {
        Self { rows, scorer: None }
    }
}

impl<'a> From<&'a Vec<Sample>> for Evaluation<'a> {
    fn from(rows: &'a Vec<Sample>) -> Self {
        Self::from(rows.as_slice())
    }
}

impl<'a> Evaluation<'a> {
    /// Measures this, too, whenever the loss is computed.
    #[must_use]
    pub fn with_scorer(mut self, scorer: &'a mut dyn Scorer) -> Self {
        self.scorer = Some(scorer);
        self
    }

    /// Checks that what needs evaluations has rows for them, and that the best one can be told.
    pub(crate) fn check(&self, config: &TrainConfig) -> Result<(), TrainError> {
        config.check_with(self.rows)?;
        let metric = config.best_metric();
        let mut names = self.scorer.as_ref().map_or(Vec::new(), |s| s.names());
        names.push(EVAL_LOSS.to_owned());
        if names.contains(&metric) {
            return Ok(());
        }
        Err(TrainError::Metric { metric, names })
    }

    /// The further measures of the adapter as it stands after `step`.
    pub(crate) fn measures(
        &mut self,
        trainable: &Trainable,
        step: usize,
    ) -> Result<ControlFlow<(), Measures>, TrainError> {
        let Some(scorer) = &mut self.scorer else {
            return Ok(ControlFlow::Continue(Measures::new()));
        };
        let measures = scorer.score(trainable).map_err(TrainError::Scorer)?;
        let ControlFlow::Continue(measures) = measures else {
            return Ok(ControlFlow::Break(()));
        };
        match measures.iter().find(|(_, value)| !value.is_finite()) {
            None => Ok(ControlFlow::Continue(measures)),
            Some((name, value)) => Err(TrainError::NotFinite {
                step,
                what: format!("`{name}`"),
                value: *value,
            }),
        }
    }
}

/// What transformers calls the loss of an evaluation.
pub(crate) const EVAL_LOSS: &str = "eval_loss";

/// Token-weighted mean negative log-likelihood of the rows, adapter included, dropout off.
///
/// # Errors
/// No rows, or a row that the model cannot read.
pub fn evaluate(
    model: &Llama,
    rows: &[Sample],
    batch_size: usize,
    on_event: OnEvent<'_>,
) -> Result<ControlFlow<(), (f64, usize)>, TrainError> {
    if rows.is_empty() {
        return Err(TrainError::NoRows);
    }
    check_all("evaluation", rows, model.config())?;
    let model = without_graph(model);
    let mut nll = |batch: &Packed| {
        let nll = batch.nll(&model, Mode::Eval)?;
        Ok(f64::from(nll.to_scalar::<f32>()?))
    };
    mean_nll(&mut nll, rows, batch_size, on_event)
}

pub(crate) fn mean_nll(
    nll: &mut dyn FnMut(&Packed) -> Result<f64, TrainError>,
    rows: &[Sample],
    batch_size: usize,
    on_event: OnEvent<'_>,
) -> Result<ControlFlow<(), (f64, usize)>, TrainError> {
    let (mut sum, mut supervised) = (0.0, 0);
    for rows in rows.chunks(batch_size.max(1)) {
        let batch = Packed::new(rows.iter())?;
        sum += nll(&batch)?;
        supervised += batch.supervised();
        let tokens = batch.tokens;
        if on_event(TrainEvent::Batch { tokens }).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue((sum / supervised as f64, supervised)))
}
