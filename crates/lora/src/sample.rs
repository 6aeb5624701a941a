//! A row as the trainer sees it, and several of them packed for one pass through the model.

use crate::error::TrainError;
use candle_core::Tensor;
use chat_prompt::TrainingRow;
use smollm_model::{EmbeddingNoise, Llama, Mode, ModelConfig, Ragged};
use std::ops::Range;

/// Token ids, and which of them the model is to learn to predict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The whole row: prompt and answer.
    pub ids: Vec<u32>,
    /// Positions in `ids` whose token counts in the loss, ascending. Position 0 cannot be one:
    /// nothing stands before it.
    pub labels: Vec<usize>,
}

impl From<&TrainingRow> for Sample {
    fn from(row: &TrainingRow) -> Self {
        Self {
            ids: row.ids.clone(),
            labels: row.labels().collect(),
        }
    }
}

impl Sample {
    fn check(&self, model: &ModelConfig) -> Result<(), String> {
        let n = self.ids.len();
        let limit = model.max_position_embeddings;
        if self.labels.is_empty() {
            return Err("no supervised token: nothing to learn from it".into());
        }
        if self.labels.windows(2).any(|w| w[0] >= w[1]) {
            return Err("label positions are not ascending".into());
        }
        if let Some(bad) = self.labels.iter().find(|&&p| p == 0 || p >= n) {
            return Err(format!("label position {bad} is outside 1..{n}"));
        }
        if n > limit {
            return Err(format!("{n} tokens, but the model's context holds {limit}"));
        }
        match self.ids.iter().find(|&&id| id as usize >= model.vocab_size) {
            Some(id) => Err(format!(
                "token id {id}, but the vocabulary has {} entries",
                model.vocab_size
            )),
            None => Ok(()),
        }
    }
}

/// Checks that every row can be trained on.
pub(crate) fn check_all(
    set: &'static str,
    rows: &[Sample],
    model: &ModelConfig,
) -> Result<(), TrainError> {
    for (index, row) in rows.iter().enumerate() {
        let row = row.check(model);
        row.map_err(|why| TrainError::Row { set, index, why })?;
    }
    Ok(())
}

/// NEFTune's noise (Jain et al. 2023) on a row of so many tokens is uniform in plus or minus this: `alpha / sqrt(L d)`, as
/// transformers has it.
pub(crate) fn noise_bound(alpha: f64, tokens: usize, hidden: usize) -> f32 {
    (alpha / ((tokens * hidden) as f64).sqrt()) as f32
}

/// Rows packed end to end, without padding.
pub(crate) struct Packed {
    pub(crate) ragged: Ragged,
    /// For each supervised token: the row of the hidden states that predicts it.
    pub(crate) places: Vec<u32>,
    /// For each supervised token: its id.
    pub(crate) targets: Vec<u32>,
    /// Tokens of all rows.
    pub(crate) tokens: usize,
}

impl Packed {
    pub(crate) fn new<'a>(rows: impl Iterator<Item = &'a Sample>) -> Result<Self, TrainError> {
        let mut inputs = Vec::new();
        let (mut places, mut targets) = (Vec::new(), Vec::new());
        let (mut start, mut tokens) = (0, 0);
        for row in rows {
            // Nothing is predicted from the last token, so it is no input.
            let input = &row.ids[..row.ids.len() - 1];
            for &label in &row.labels {
                places.push((start + label - 1) as u32);
                targets.push(row.ids[label]);
            }
            start += input.len();
            tokens += row.ids.len();
            inputs.push(input.to_vec());
        }
        Ok(Self {
            ragged: Ragged::new(&inputs)?,
            places,
            targets,
            tokens,
        })
    }

    /// The same with NEFTune's noise on the embeddings, which have `hidden` columns; an alpha of 0 is none.
    pub(crate) fn noisy(mut self, key: u64, alpha: f64, hidden: usize) -> Result<Self, TrainError> {
        if alpha == 0.0 {
            return Ok(self);
        }
        // The last token of a row is no input, but one of its tokens.
        let bound = |input: &Range<usize>| noise_bound(alpha, input.len() + 1, hidden);
        let bounds = self.ragged.segments().iter().map(bound).collect();
        self.ragged = self.ragged.with_noise(EmbeddingNoise::new(key, bounds))?;
        Ok(self)
    }

    /// How many tokens count in the loss.
    pub(crate) fn supervised(&self) -> usize {
        self.targets.len()
    }

    /// The SUM of the negative log-likelihoods of the supervised tokens, a scalar.
    pub(crate) fn nll(&self, model: &Llama, mode: Mode) -> Result<Tensor, TrainError> {
        let hidden = model.hidden(&self.ragged, mode)?;
        Ok(model.nll(&hidden, (&self.places, &self.targets), mode)?)
    }
}
