//! The sections and keys of `smoltune.toml`. Every key has a default.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::CommandFactory;
use serde::{Deserialize, Serialize};
use toml::Value;

use super::schema::{Flag, Key, Section, section};

/// A whole run. An unknown key is an error: a typo must not silently mean the default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// The run folder, made if absent.
    pub(crate) out: PathBuf,
    /// Where values come from that nothing else sets; empty for the defaults.
    pub(crate) preset: String,
    pub(crate) model: Model,
    pub(crate) data: Data,
    pub(crate) generate: Generate,
    pub(crate) train: Train,
    pub(crate) evaluate: Evaluate,
    pub(crate) guard: Guard,
    pub(crate) compare: Compare,
    pub(crate) sweep: Sweep,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            out: PathBuf::from("runs/smoltune"),
            preset: String::new(),
            model: Model::default(),
            data: Data::default(),
            generate: Generate::default(),
            train: Train::default(),
            evaluate: Evaluate::default(),
            guard: Guard::default(),
            compare: Compare::default(),
            sweep: Sweep::default(),
        }
    }
}

const ROOT: Section = Section {
    name: "",
    about: &["The run."],
    stage: None,
    keys: &[
        Key {
            name: "out",
            doc: &["Run folder, made if absent"],
            kind: "PathBuf",
            flag: Flag::No,
        },
        Key {
            name: "preset",
            doc: &["Recipe whose values count where neither this file nor a flag says otherwise"],
            kind: "String",
            flag: Flag::No,
        },
    ],
};

/// All sections, in the order in which they are written; first the keys above them.
pub(crate) fn sections() -> &'static [Section] {
    const SECTIONS: &[Section] = &[
        ROOT,
        Model::SECTION,
        Data::SECTION,
        Generate::SECTION,
        Train::SECTION,
        Evaluate::SECTION,
        Guard::SECTION,
        Compare::SECTION,
        Sweep::SECTION,
    ];
    SECTIONS
}

section! {
    /// The model to start from.
    Model("model", Some(train::Args::command)) {
        /// A hub id (`OWNER/NAME[@REVISION]`), a folder, a `.gguf` file or an adapter folder
        name: String = "HuggingFaceTB/SmolLM2-135M-Instruct".into() => Flag::Named("model-name");
        /// Precision of frozen weights and activations in training, and of answers unless `generate.dtype` is set
        dtype: String = "f32".into();
        /// System prompt of every row, in training and in both answers; empty for the template's own
        system: String = String::new();
        /// Date for templates that write one into the prompt, as YYYY-MM-DD; empty for today
        date: String = String::new();
    }
}

section! {
    /// Where rows come from and how they are split.
    Data("data", Some(prepare::Args::command)) {
        /// A CSV, JSONL, JSON or Parquet file, or a data set of the hub
        source: String = "databricks/databricks-dolly-15k".into();
        /// Seed of the split; 42 is the published one
        seed: u64 = 42;
        /// Rows held out for the comparison
        test: usize = 15;
        /// Rows to train on
        train: usize = 1000;
        /// Rows for the evaluation loss while training; a sweep ranks by them
        val: usize = 0;
        /// Which texts of a curated source count: `original`, `curated` or `prefer-curated`
        view: String = "original".into();
        /// Columns of other names, as `instruction=question,response=answer`; empty for none
        map: String = String::new();
        /// Column of which each part gets the same share; empty for none
        stratify: String = String::new();
        /// Column whose equal values stay on one side; empty for none
        group_by: String = String::new();
        /// Part of their word 5-grams that near duplicates share
        near_threshold: f64 = 0.8;
        /// Leave out training rows in which a test or validation row stands
        drop_leaks: bool = false;
    }
}

section! {
    /// How both models answer the held-out rows.
    Generate("generate", Some(generate::Args::command)) {
        /// Prompts over this many tokens get a shorter context
        max_prompt_len: usize = 1024;
        /// Longest answer, in tokens
        max_new_tokens: usize = 256;
        /// Texts that end an answer where they begin
        stop: Vec<String> = Vec::new() => Flag::Each;
        /// 0 takes the most likely token; above, tokens are drawn, and the keys from `top_k` to `seed` count
        temperature: f64 = 0.0;
        /// Keep this many of the most likely tokens
        top_k: Option<usize> = None;
        /// Keep the most likely tokens whose probabilities add up to this
        top_p: f64 = 1.0;
        /// Keep tokens at least this share as likely as the most likely one
        min_p: Option<f64> = None;
        /// Draw so many answers a row and keep the likeliest
        best_of: usize = 1;
        /// Seed of the draws
        seed: u64 = 42;
        /// Above 1, makes tokens that stand in the prompt or the answer less likely
        repetition_penalty: f64 = 1.0;
        /// How weights are kept; empty for `model.dtype`
        dtype: String = String::new();
        /// Quantise the weights at load, in the place of `dtype`; empty for no
        quantize: String = String::new();
        /// What computes: `cpu`, `cuda` (an NVIDIA GPU; `cuda:1` is the second), or `auto`, a GPU where the build knows GPUs and one can do it
        device: String = "auto".into();
        /// How keys and values are kept; empty for f32 with f32 weights, else bf16
        kv_dtype: String = String::new();
        /// Rows answered together; changes the speed, not the answers
        batch_size: usize = 16;
        /// Threads; changes the speed, not the answers
        threads: Option<usize> = None;
        /// Rows answered once more, each alone; a different answer is an error
        check_batch: usize = 0;
        /// `original` cuts prompts at their end and stops as the original program does; empty for no
        compat: String = String::new();
    }
}

section! {
    /// The recipe.
    Train("train", Some(train::Args::command)) {
        /// Passes over the rows; may be a fraction
        epochs: f64 = 1.0;
        /// Optimiser steps, whatever `epochs` says
        max_steps: Option<usize> = None;
        /// Peak of the learning rate
        lr: f64 = 2e-4;
        /// What the learning rate does: `constant` (no warm-up), `constant_with_warmup`, `linear`, `cosine` or `warmup_stable_decay`
        lr_schedule: String = "cosine".into();
        /// Part of all steps in which the learning rate rises from 0
        warmup_ratio: f64 = 0.03;
        /// Steps in which the learning rate rises from 0, whatever `warmup_ratio` says
        warmup_steps: Option<usize> = None;
        /// Steps at the end in which `warmup_stable_decay` falls; a tenth of all if not set
        decay_steps: Option<usize> = None;
        /// LoRA+: the matrices B, and DoRA's magnitudes, learn with so many times the rate of the matrices A
        loraplus_lr_ratio: Option<f64> = None;
        /// LoRA+: peak of the learning rate of an adapter of `embed_tokens`; 1e-6 if not set
        loraplus_lr_embedding: Option<f64> = None;
        /// NEFTune: noise of up to this / √(tokens of the row · columns) on the embeddings while training; 5 is usual
        neftune_noise_alpha: Option<f64> = None;
        /// What makes updates of gradients
        optim: String = "adamw".into();
        /// How much of the first moment a step keeps; `adamw`, `lion`; 0.9 if not set
        adam_beta1: Option<f64> = None;
        /// How much of the second moment a step keeps, with `lion` of its average; 0.999 if not set, with `lion` 0.99
        adam_beta2: Option<f64> = None;
        /// What `adamw` adds to what it divides by; 1e-8 if not set
        adam_epsilon: Option<f64> = None;
        /// How much of the last direction a step keeps; `sgd` (0 if not set), `muon` (0.95)
        momentum: Option<f64> = None;
        /// Nesterov momentum with `sgd`
        nesterov: bool = false;
        /// Weight decay of all of the adapter; decoupled, but with `sgd`
        weight_decay: f64 = 0.0;
        /// Gradients are scaled down to this norm; 0 leaves them alone
        max_grad_norm: f64 = 1.0;
        /// Average the adapter over steps, keeping this part of the average in each, such as 0.999; what is evaluated and saved is the average
        ema_decay: Option<f64> = None;
        /// Rows in a forward pass
        batch_size: usize = 1;
        /// Forward passes in an optimiser step
        accumulation: usize = 16 => Flag::Named("ga");
        /// Which rows go through the model together
        batching: String = "shuffled".into();
        /// Tokens in a packed batch; `max_seq_len` if not set
        pack_tokens: Option<usize> = None;
        /// Deal the rows in a new order each epoch
        shuffle: bool = true => Flag::Unless("no-shuffle");
        /// Longest row in tokens
        max_seq_len: usize = 1024;
        /// What happens to a longer one
        on_truncate: String = "context".into();
        /// Rank
        lora_r: usize = 16;
        /// Numerator of the scale alpha / r
        lora_alpha: f64 = 32.0;
        /// Probability of dropping an input feature of the adapter in training
        lora_dropout: f64 = 0.05;
        /// Modules that get an adapter: projections, `["all-linear"]`, or a regular expression for whole paths
        target_modules: Vec<String> = ["q_proj", "k_proj", "v_proj", "o_proj"].map(String::from).into();
        /// Of those, the ones to leave out: ends of paths, or a regular expression
        exclude_modules: Vec<String> = Vec::new();
        /// Layers that get an adapter, from 0; empty for all
        layers_to_transform: Vec<usize> = Vec::new();
        /// Other ranks, as `["q_proj=4"]`: a regular expression for ends of paths, and a rank; the first that matches counts
        rank_pattern: Vec<String> = Vec::new() => Flag::Each;
        /// Other alphas, likewise
        alpha_pattern: Vec<String> = Vec::new() => Flag::Each;
        /// Scale by alpha / √r
        rslora: bool = false;
        /// DoRA: train the size of every adapted weight's rows too; slower, and no GGUF adapter can be made of it
        use_dora: bool = false;
        /// How the new adapter starts: `true` (A random, B zero), `gaussian`, `orthogonal`, or with a part of each weight: `pissa`, `pissa_niter_N` (the same, fast), `olora`
        init_lora_weights: String = "true".into();
        /// Which biases of the base learn, `none`, `all` or `lora_only`: all the same, as it has none; the word is kept in the adapter's config
        bias: String = "none".into();
        /// Adapter folder to start from; its rank, alpha and modules count, not the keys from `lora_r` to `bias` (but for the dropout)
        init_adapter: String = String::new();
        /// Seed of the adapter's start, the order of rows, dropout and noise
        seed: u64 = 42;
        /// What computes loss and gradients: weights packed for this CPU, or candle's autograd (slower, the reference)
        engine: String = "packed".into();
        /// Where loss and gradients are computed: `cpu`, `cuda` (an NVIDIA GPU; `cuda:1` is the second), or `auto`, a GPU where the build knows GPUs and one can do it
        device: String = "auto".into();
        /// What is kept for the backward pass; `block` takes less memory and more time, `auto` takes it where the memory is short
        checkpointing: String = "none".into();
        /// Train beside quantised weights: `stored`, the blocks of a quantised GGUF file, or `q8_0`; empty for no
        quantize: String = String::new();
        /// Steps between evaluations, where there are validation rows
        eval_steps: usize = 50;
        /// Answer evaluation rows at every evaluation, too, and score the answers
        predict_with_generate: bool = false;
        /// Of how many evaluation rows, chosen by the seed
        gen_rows: usize = 32;
        /// Longest of these answers, in tokens
        generation_max_length: usize = 128;
        /// What makes an evaluation the best: `loss`, or with `predict_with_generate` `token_f1`, `rougeL` or `stop_rate`
        metric_for_best_model: String = "loss".into();
        /// Steps between checkpoints, from which a run that was killed goes on; without it, only Ctrl-C saves one
        save_steps: Option<usize> = None;
        /// Checkpoints to keep; all if not set
        save_total_limit: Option<usize> = None;
        /// At the end, take the adapter of the best evaluation instead of the last one
        load_best_model_at_end: bool = false;
        /// Stop when so many evaluations in a row were not better than the best
        early_stopping_patience: Option<usize> = None;
        /// What happens to a step whose loss or gradient is no number: `error` ends the run, `skip` passes over the step
        on_nan: String = "error".into();
        /// With `skip`, one more than so many steps in a row end the run
        max_skipped_steps: usize = 5;
        /// Memory that training may use (on a GPU: of its own), such as `6GB`; empty for what is available
        memory_limit: String = String::new();
        /// Who else is told of steps and evaluations
        report_to: String = "none".into();
        /// Steps between lines for people; the log has every step
        logging_steps: usize = 10;
        /// `original` builds rows as the original program does, its defects included; empty for no
        compat: String = String::new();
    }
}

section! {
    /// How answers are scored.
    Evaluate("evaluate", Some(evaluate::Args::command)) {
        /// Gold answers of at most this many tokens make the short subset
        short_thresh: usize = 15;
        /// A row with at least this ROUGE-Lsum counts as right in `acc_at_rouge`
        rouge_thresh: f64 = 0.5;
        /// Whose definitions hold where the original's are defects
        compat: String = "default".into();
    }
}

section! {
    /// What the adapter has moved on texts that it was not tuned for; it stands beside the comparison.
    Guard("guard", Some(guard::Args::command)) {
        /// Whether to look
        enabled: bool = true => Flag::No;
        /// A file of texts, parted by lines of `---`; empty for twelve that come with the program
        text: String = String::new();
        /// Tokens to read of each text
        tokens: usize = 256 => Flag::Named("max-tokens");
    }
}

section! {
    /// How the two sets of answers are compared.
    Compare("compare", Some(compare::Args::command)) {
        /// Rows that count as one
        cluster_by: String = "question".into();
        /// Difference that the number of rows should be able to show
        effect: f64 = 0.05;
        /// Largest difference that does not matter
        margin: f64 = 0.05;
        /// Chance of a false finding among all metrics
        alpha: f64 = 0.05;
        /// Samples of permutation tests and bootstraps
        resamples: usize = 10_000;
        /// Seed of these samples
        seed: u64 = 0;
    }
}

/// Values to try, by key of `[train]`.
pub(crate) type Grid = BTreeMap<String, Vec<Value>>;

section! {
    /// What `smoltune sweep` tries; `run` does not look at it.
    Sweep("sweep", None) {
        /// Seeds of training; every combination is trained with each
        seeds: Vec<u64> = vec![1, 2, 3] => Flag::No;
        /// What combinations are ranked by, on the validation rows: `eval_loss`, or `em`, `relaxed`, `f1`, `rouge1`, `rouge2`, `rouge_l`, `rouge_lsum`, `acc_at_rouge` of answers
        metric: String = "eval_loss".into() => Flag::No;
        /// At the end, score the winner on the test rows, once
        test: bool = true => Flag::No;
        /// Keys of `[train]` with the values to try, as `grid = { lr = [1e-4, 2e-4], lora_r = [8, 16] }`; all combinations are trained
        grid: Grid = Grid::new() => Flag::No;
    }
}

#[cfg(test)]
mod tests;
