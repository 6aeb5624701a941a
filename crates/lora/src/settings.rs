//! The settings of a training run.

use chat_prompt::Batching;

use crate::error::TrainError;
use crate::names::Factor;
use crate::optim::Optim;
use crate::sample::Sample;
use crate::schedule::{LearningRate, Schedule};
use smollm_model::Site;

/// How to train. The defaults are the original's.
#[derive(Clone, Debug)]
pub struct TrainConfig {
    /// Passes over the rows; may be fractional.
    pub epochs: f64,
    /// Updates to make, whatever `epochs` says; also the length of the schedule.
    pub max_steps: Option<usize>,
    /// Rows that go through the model together, packed.
    pub batch_size: usize,
    /// Micro-batches in one update.
    pub accumulation: usize,
    /// The peak of the learning rate.
    pub learning_rate: f64,
    /// What the learning rate does after the warm-up.
    pub schedule: Schedule,
    /// The part of all updates that warms up.
    pub warmup_ratio: f64,
    /// Updates that warm up, whatever `warmup_ratio` says.
    pub warmup_steps: Option<usize>,
    /// Updates in which [`Schedule::WarmupStableDecay`] falls; a tenth of all if not given.
    pub decay_steps: Option<usize>,
    /// LoRA+ (Hayou et al. 2024): B learns with so many times the rate of A, and so do `DoRA`'s magnitudes (as in PEFT).
    pub loraplus_lr_ratio: Option<f64>,
    /// With LoRA+, the peak of the learning rate of both factors of the embedding's adapter; 1e-6, which is PEFT's, if not
    /// given.
    pub loraplus_lr_embedding: Option<f64>,
    /// NEFTune (Jain et al. 2023): while training, noise of this size is added to the embeddings, uniform in
    /// `±alpha / sqrt(tokens of the row * columns)`.
    pub neftune_noise_alpha: Option<f64>,
    /// What makes updates of gradients.
    pub optim: Optim,
    /// Weight decay of every variable; decoupled, but for [`Optim::Sgd`].
    pub weight_decay: f64,
    /// Gradients are scaled down to this global norm; 0 leaves them alone.
    pub max_grad_norm: f64,
    /// Average the variables with this decay (0.999 keeps about the last thousand updates): what is evaluated, kept as
    /// the best and written is the average.
    pub ema_decay: Option<f64>,
    /// Which rows make up a micro-batch. Whatever it is, the loss of an update weighs every
    /// supervised token alike.
    pub batching: Batching,
    /// Deal the rows in a new random order each epoch.
    pub shuffle: bool,
    /// Seed of the order, of dropout and of noise.
    pub seed: u64,
    /// Evaluate after every so many updates; at the end in any case, if there are rows for it.
    pub eval_steps: Option<usize>,
    /// Report a checkpoint after every so many updates.
    pub save_steps: Option<usize>,
    /// By which measure an evaluation is the best: `loss`, or one of a [`Scorer`](crate::Scorer)'s, with or without
    /// `eval_` in front. As in transformers, less is better where the name ends in `loss`, else more.
    pub metric_for_best_model: String,
    /// Report a checkpoint after every evaluation that is the best so far, too, so that the caller
    /// can put the best adapter in the place of the last one.
    pub load_best_model_at_end: bool,
    /// End the run when so many evaluations in a row were not better than the best.
    pub early_stopping_patience: Option<usize>,
    /// What happens when a loss or a gradient is no number.
    pub on_nan: OnNan,
}

/// What happens to an update whose loss or gradient is infinite or no number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnNan {
    /// The run ends, with the step and the tensor.
    #[default]
    Error,
    /// The update is passed over: neither variables nor moments move, the learning rate does.
    Skip {
        /// So many in a row; one more ends the run.
        in_a_row: usize,
    },
}

/// `loraplus_lr_embedding` of PEFT's `create_loraplus_optimizer`.
const LR_EMBEDDING: f64 = 1e-6;

/// Whether the best value of a measure is the largest: transformers' rule.
pub(crate) fn greater_is_better(metric: &str) -> bool {
    !metric.ends_with("loss")
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 1.0,
            max_steps: None,
            batch_size: 1,
            accumulation: 16,
            learning_rate: 2e-4,
            schedule: Schedule::Cosine,
            warmup_ratio: 0.03,
            warmup_steps: None,
            decay_steps: None,
            loraplus_lr_ratio: None,
            loraplus_lr_embedding: None,
            neftune_noise_alpha: None,
            optim: Optim::default(),
            weight_decay: 0.0,
            max_grad_norm: 1.0,
            ema_decay: None,
            batching: Batching::Shuffled,
            shuffle: true,
            seed: 42,
            eval_steps: None,
            save_steps: None,
            metric_for_best_model: "loss".into(),
            load_best_model_at_end: false,
            early_stopping_patience: None,
            on_nan: OnNan::default(),
        }
    }
}

impl TrainConfig {
    /// The learning rate of every one of `total` updates.
    pub fn learning_rates(&self, total: usize) -> LearningRate {
        let rates = LearningRate::new(self.learning_rate, self.schedule, self.warmup_ratio, total);
        rates
            .warming_up(self.warmup_steps)
            .decaying(self.decay_steps)
    }

    /// What multiplies the learning rate of a tensor with one of PEFT's names. With LoRA+ that is its ratio for B and for
    /// what has one dimension (`DoRA`'s magnitudes), as PEFT's `create_loraplus_optimizer` has it, and for both factors of
    /// the embedding what makes [`TrainConfig::loraplus_lr_embedding`] of the peak.
    pub fn rate_factor(&self, name: &str) -> f64 {
        match (self.loraplus_lr_ratio, Factor::parse(name)) {
            // A run with no rate has none here either.
            (Some(_), Some((Site::Embedding, _))) if self.learning_rate > 0.0 => {
                self.loraplus_lr_embedding.unwrap_or(LR_EMBEDDING) / self.learning_rate
            }
            (Some(ratio), Some((_, Factor::B | Factor::Magnitude))) => ratio,
            _ => 1.0,
        }
    }

    /// The full name of the measure by which an evaluation is the best.
    pub(crate) fn best_metric(&self) -> String {
        let name = &self.metric_for_best_model;
        match name.strip_prefix("eval_") {
            Some(_) => name.clone(),
            None => format!("eval_{name}"),
        }
    }

    /// Checks that what needs evaluations has rows for them.
    pub(crate) fn check_with(&self, eval_rows: &[Sample]) -> Result<(), TrainError> {
        let needs = [
            (
                "early stopping patience",
                self.early_stopping_patience.is_some(),
            ),
            ("load best model at end", self.load_best_model_at_end),
        ];
        match needs
            .into_iter()
            .find(|(_, asked)| *asked && eval_rows.is_empty())
        {
            None => Ok(()),
            Some((name, _)) => Err(TrainError::Setting {
                name,
                found: "set without evaluation rows".into(),
                expected: "rows to evaluate on",
            }),
        }
    }

    /// Checks each setting and their combination.
    ///
    /// # Errors
    /// The first setting that makes no sense.
    pub fn check(&self) -> Result<(), TrainError> {
        let positive = "a positive integer";
        let settings: [(&'static str, f64, bool, &'static str); 15] = [
            (
                "epochs",
                self.epochs,
                self.epochs > 0.0 && self.epochs.is_finite(),
                "a number above 0",
            ),
            count("max steps", self.max_steps.unwrap_or(1), positive),
            count("batch size", self.batch_size, positive),
            count("accumulation", self.accumulation, positive),
            not_negative("learning rate", self.learning_rate),
            not_negative("weight decay", self.weight_decay),
            not_negative("maximal gradient norm", self.max_grad_norm),
            (
                "warm-up ratio",
                self.warmup_ratio,
                (0.0..=1.0).contains(&self.warmup_ratio),
                "between 0 and 1",
            ),
            count(
                "evaluation interval",
                self.eval_steps.unwrap_or(1),
                positive,
            ),
            count("save steps", self.save_steps.unwrap_or(1), positive),
            count("decay steps", self.decay_steps.unwrap_or(1), positive),
            count(
                "early stopping patience",
                self.early_stopping_patience.unwrap_or(1),
                positive,
            ),
            not_negative(
                "NEFTune's noise alpha",
                self.neftune_noise_alpha.unwrap_or(0.0),
            ),
            not_negative("LoRA+ ratio", self.loraplus_lr_ratio.unwrap_or(1.0)),
            not_negative(
                "LoRA+ rate of the embedding",
                self.loraplus_lr_embedding.unwrap_or(LR_EMBEDDING),
            ),
        ];
        if let (None, Some(rate)) = (self.loraplus_lr_ratio, self.loraplus_lr_embedding) {
            return Err(TrainError::Setting {
                name: "LoRA+ rate of the embedding",
                found: format!("{rate} without a LoRA+ ratio"),
                expected: "a ratio beside it (1 leaves B's rate as it is)",
            });
        }
        if let Some(decay) = self.ema_decay.filter(|d| !(0.0..1.0).contains(d)) {
            return Err(TrainError::Setting {
                name: "EMA decay",
                found: decay.to_string(),
                expected: "at least 0 and below 1",
            });
        }
        if let Some((name, found)) = self.optim.wrong() {
            return Err(TrainError::Setting {
                name,
                found: found.to_string(),
                expected: "at least 0 and, but for the epsilon, below 1",
            });
        }
        match settings.into_iter().find(|(_, _, ok, _)| !ok) {
            None if !self.shuffle && self.batching != Batching::Shuffled => {
                Err(TrainError::Setting {
                    name: "batching",
                    found: format!("{:?} without shuffling", self.batching),
                    expected: "the order of the file, or batches that are put together",
                })
            }
            None if self.batching == (Batching::Packed { max_tokens: 0 }) => {
                Err(TrainError::Setting {
                    name: "tokens in a packed batch",
                    found: "0".into(),
                    expected: positive,
                })
            }
            None => Ok(()),
            Some((name, found, _, expected)) => Err(TrainError::Setting {
                name,
                found: found.to_string(),
                expected,
            }),
        }
    }
}

fn count(
    name: &'static str,
    n: usize,
    expected: &'static str,
) -> (&'static str, f64, bool, &'static str) {
    (name, n as f64, n > 0, expected)
}

fn not_negative(name: &'static str, x: f64) -> (&'static str, f64, bool, &'static str) {
    let ok = x >= 0.0 && x.is_finite();
    (name, x, ok, "a finite number, at least 0")
}
