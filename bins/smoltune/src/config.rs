//! `smoltune.toml`: one file that says what a run does. Every key has a default.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A whole run. An unknown key is an error: a typo must not silently mean the default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// The run folder, made if absent.
    pub(crate) out: PathBuf,
    pub(crate) model: Model,
    pub(crate) data: Data,
    pub(crate) generate: Generate,
    pub(crate) train: Train,
    pub(crate) evaluate: Evaluate,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            out: PathBuf::from("runs/smoltune"),
            model: Model::default(),
            data: Data::default(),
            generate: Generate::default(),
            train: Train::default(),
            evaluate: Evaluate::default(),
        }
    }
}

/// The model to start from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Model {
    /// A hub id, a folder, a `.gguf` file or an adapter folder.
    pub(crate) name: String,
    /// Precision of frozen weights and activations: `f32` or `bf16`.
    pub(crate) dtype: String,
    /// System prompt of every row, in training and in both answers; empty leaves the template's own.
    pub(crate) system: String,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            name: "HuggingFaceTB/SmolLM2-135M-Instruct".into(),
            dtype: "f32".into(),
            system: String::new(),
        }
    }
}

/// Where rows come from and how they are split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Data {
    /// A CSV or JSONL file, or a hub id.
    pub(crate) source: String,
    /// Seed of the shuffle; 42 is the published split.
    pub(crate) seed: u64,
    /// Rows held out.
    pub(crate) test: usize,
    /// Rows to train on.
    pub(crate) train: usize,
    /// Rows for the evaluation loss while training.
    pub(crate) val: usize,
    /// Which texts of a curated source count: `original`, `curated` or `prefer-curated`.
    pub(crate) view: String,
    /// Columns of other names, as `instruction=question,response=answer`; empty for none.
    pub(crate) map: String,
    /// `category`, for parts with the same share of each category; empty for none.
    pub(crate) stratify: String,
    /// `context`, so that no context stands on both sides; empty for none.
    pub(crate) group_by: String,
    /// Leave out training rows that the test set stands in.
    pub(crate) drop_leaks: bool,
}

impl Default for Data {
    fn default() -> Self {
        let source = "databricks/databricks-dolly-15k".into();
        Self {
            source,
            seed: 42,
            test: 15,
            train: 1000,
            val: 0,
            view: "original".into(),
            map: String::new(),
            stratify: String::new(),
            group_by: String::new(),
            drop_leaks: false,
        }
    }
}

/// How both models answer the held-out rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Generate {
    /// Prompts over this many tokens get a shorter context.
    pub(crate) max_prompt_len: usize,
    /// Longest answer, in tokens.
    pub(crate) max_new_tokens: usize,
    /// 0 is greedy.
    pub(crate) temperature: f64,
    /// Nucleus sampling; looked at only with a temperature above 0.
    pub(crate) top_p: f64,
    /// Seed of the sampling.
    pub(crate) seed: u64,
}

impl Default for Generate {
    fn default() -> Self {
        Self {
            max_prompt_len: 1024,
            max_new_tokens: 256,
            temperature: 0.0,
            top_p: 1.0,
            seed: 42,
        }
    }
}

/// The recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Train {
    pub(crate) epochs: f64,
    /// Optimiser steps; overrides `epochs`.
    pub(crate) max_steps: Option<usize>,
    pub(crate) lr: f64,
    /// `constant`, `constant_with_warmup`, `linear`, `cosine` or `warmup_stable_decay`.
    pub(crate) lr_schedule: String,
    pub(crate) warmup_ratio: f64,
    pub(crate) weight_decay: f64,
    pub(crate) max_grad_norm: f64,
    /// Rows a forward pass.
    pub(crate) batch_size: usize,
    /// Forward passes an optimiser step.
    pub(crate) accumulation: usize,
    /// `shuffled`, `bucketed` or `packed`.
    pub(crate) batching: String,
    /// Tokens in a packed batch; without it, `max_seq_len`.
    pub(crate) pack_tokens: Option<usize>,
    /// The longest row in tokens.
    pub(crate) max_seq_len: usize,
    /// What happens to a longer one: `context` shortens its context, or drops it where that is not
    /// enough; `drop`, `keep-start` or `error`.
    pub(crate) on_truncate: String,
    pub(crate) lora_r: usize,
    pub(crate) lora_alpha: f64,
    pub(crate) lora_dropout: f64,
    /// Projections that get an adapter, or `["all-linear"]`.
    pub(crate) target_modules: Vec<String>,
    pub(crate) rslora: bool,
    /// Seed of the adapter's start, the order of rows and dropout.
    pub(crate) seed: u64,
}

impl Default for Train {
    fn default() -> Self {
        Self {
            epochs: 1.0,
            max_steps: None,
            lr: 2e-4,
            lr_schedule: "cosine".into(),
            warmup_ratio: 0.03,
            weight_decay: 0.0,
            max_grad_norm: 1.0,
            batch_size: 1,
            accumulation: 16,
            batching: "shuffled".into(),
            pack_tokens: None,
            max_seq_len: 1024,
            on_truncate: "context".into(),
            lora_r: 16,
            lora_alpha: 32.0,
            lora_dropout: 0.05,
            target_modules: ["q_proj", "k_proj", "v_proj", "o_proj"]
                .map(String::from)
                .into(),
            rslora: false,
            seed: 42,
        }
    }
}

/// How answers are scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Evaluate {
    /// Gold answers of at most this many tokens make the short subset.
    pub(crate) short_thresh: usize,
    /// A row with at least this ROUGE counts as right in `acc_at_rouge`.
    pub(crate) rouge_thresh: f64,
}

impl Default for Evaluate {
    fn default() -> Self {
        Self {
            short_thresh: 15,
            rouge_thresh: 0.5,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_all_defaults_and_defaults_survive_a_round_trip() {
        let empty: Config = toml::from_str("").unwrap();
        assert_eq!(empty, Config::default());
        let text = toml::to_string(&Config::default()).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), Config::default());
    }

    #[test]
    fn an_unknown_key_is_named_with_those_known() {
        let message = toml::from_str::<Config>("[train]\nlearning_rate = 1.0\n").unwrap_err();
        let message = message.to_string();
        assert!(
            message.contains("learning_rate") && message.contains("warmup_ratio"),
            "{message}"
        );
        assert!(message.contains("line 2"), "{message}");
    }
}
