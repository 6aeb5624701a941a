//! Answers generated at every evaluation, and their scores: `--predict-with-generate`.
//!
//! The base is packed once more, for generating; at each evaluation the adapter as it stands answers the same rows,
//! greedily. An answer and its score are those of `generate` and `evaluate` with that adapter.

use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;

use chat_prompt::{Message, PromptError, PromptPolicy, Prompter, Role};
use dolly_data::{Row, load_rows, permutation};
use loader::{DeviceArg, InferenceArgs, Model, Opened};
use lora::{EvalRecord, Measures, Scorer, Trainable};
use smollm_model::{Completion, FinishReason, GenerationConfig, generate};
use stage::{OrExit, StageError, interrupt, sha256_bytes};
use textmetrics::{ScoreOptions, Summary, score_rows};

use crate::args::Args;
use crate::rows::Encoded;

/// What is measured, in the order in which people read it, with what they call it. `rougeL` and `gen_len` are the names
/// of transformers' examples.
const NAMES: [(&str, &str); 4] = [
    ("eval_token_f1", "token F1"),
    ("eval_rougeL", "ROUGE-L"),
    ("eval_stop_rate", "stopped by itself"),
    ("eval_gen_len", "tokens an answer"),
];

/// Longest prompt, as `generate` has it.
const MAX_PROMPT: usize = 1024;

/// Checks the flags that have to do with it.
pub(crate) fn check(args: &Args) -> Result<(), StageError> {
    let metric = &args.metric_for_best_model;
    let full = format!("eval_{}", metric.trim_start_matches("eval_"));
    // More tokens are not better.
    let generated = full != "eval_gen_len" && NAMES.iter().any(|(name, _)| *name == full);
    if !generated && full != "eval_loss" {
        return Err(StageError::usage(format!(
            "--metric-for-best-model is {metric}, expected loss, token_f1, rougeL or stop_rate"
        )));
    }
    if generated && !args.predict_with_generate {
        return Err(StageError::usage(format!(
            "--metric-for-best-model {metric} needs --predict-with-generate, which measures it"
        )));
    }
    for (flag, value) in [
        ("--gen-rows", args.gen_rows),
        ("--generation-max-length", args.generation_max_length),
    ] {
        if value == 0 {
            return Err(StageError::usage(format!(
                "{flag} is 0, expected 1 or more"
            )));
        }
    }
    Ok(())
}

/// What people call a measure.
pub(crate) fn label(name: &str) -> &str {
    let found = NAMES.iter().find(|(known, _)| *known == name);
    match found {
        Some((_, label)) => label,
        None if name == "eval_loss" => "evaluation loss",
        None => name,
    }
}

/// The measures of a record as the end of a line; nothing where there are none.
pub(crate) fn text(record: &EvalRecord) -> String {
    let measure = |(name, label): &(&str, &str)| {
        let value = record.metrics.get(*name)?;
        Some(match *name {
            "eval_stop_rate" => format!(", {:.0} % {label}", 100.0 * value),
            "eval_gen_len" => format!(", {value:.1} {label}"),
            _ => format!(", {label} {value:.4}"),
        })
    };
    NAMES.iter().filter_map(measure).collect()
}

/// The rows that are answered.
pub(crate) struct Questions {
    prompts: Vec<Vec<u32>>,
    gold: Vec<String>,
    config: GenerationConfig,
}

/// The rows to answer, if that is asked for: as many as are wanted of the evaluation rows, chosen by the seed.
pub(crate) fn questions(
    args: &Args,
    opened: &Opened,
    eval: Option<(&Path, &Encoded)>,
) -> Result<Option<Questions>, StageError> {
    if !args.predict_with_generate {
        return Ok(None);
    }
    let Some((path, encoded)) = eval else {
        return Err(StageError::usage(
            "--predict-with-generate needs evaluation rows: give --eval-csv",
        ));
    };
    let rows = load_rows(path).or_bad_data()?.rows;
    let mut chosen = permutation(args.seed, encoded.places.len());
    chosen.truncate(args.gen_rows);
    chosen.sort_unstable();
    let (prompter, model) = (opened.prompter(), opened.config());
    let positions = model.max_position_embeddings;
    let room = positions.saturating_sub(args.generation_max_length);
    let limit = MAX_PROMPT.min(room.max(positions / 2));
    let (mut prompts, mut gold) = (Vec::new(), Vec::new());
    for at in chosen {
        let Some(row) = rows.get(encoded.places[at]) else {
            return Err(StageError::bad_data(format!(
                "{} changed while it was read; try again",
                path.display()
            )));
        };
        let ids = prompt(row, prompter, limit, args.compat.is_some());
        let place = || format!("{}: row {}", path.display(), row.id);
        prompts.push(ids.map_err(|e| StageError::bad_data(e).context(place()))?);
        gold.push(row.response.clone());
    }
    Ok(Some(Questions {
        prompts,
        gold,
        config: GenerationConfig {
            max_new_tokens: args.generation_max_length,
            stop_ids: loader::stop_ids(prompter, model, args.compat.is_some()),
            adapter: Some(0),
            ..GenerationConfig::default()
        },
    }))
}

fn prompt(
    row: &Row,
    prompter: &Prompter,
    limit: usize,
    as_original: bool,
) -> Result<Vec<u32>, PromptError> {
    let policy = if as_original {
        PromptPolicy::CutEnd
    } else {
        PromptPolicy::Context
    };
    let prompt = if let Some((_, asked)) = row.messages.split_last() {
        let message = |turn: &dolly_data::Turn| Message::new(Role::new(&turn.role), &turn.content);
        let messages: Vec<Message> = asked.iter().map(message).collect();
        prompter.conversation_prompt(&messages, Some(limit))?
    } else {
        let context = row.context.as_deref();
        prompter.generation_prompt_with(&row.instruction, context, Some(limit), policy)?
    };
    Ok(prompt.ids)
}

impl Questions {
    /// Bytes of the model that answers, with the keys and values of as many answers as are in the works at once.
    pub(crate) fn memory(&self, opened: &Opened) -> usize {
        let files = opened.weight_files().unwrap_or_default();
        let sizes = files.iter().filter_map(|path| path.metadata().ok());
        let weights = sizes.map(|file| file.len() as usize).sum::<usize>();
        let model = opened.config();
        let mut tokens: Vec<usize> = self.prompts.iter().map(Vec::len).collect();
        tokens.sort_unstable_by_key(|n| std::cmp::Reverse(*n));
        let at_once = tokens.iter().take(self.config.batch_size);
        let tokens: usize = at_once.map(|n| n + self.config.max_new_tokens).sum();
        let width = 2 * model.key_value_width() * model.num_hidden_layers;
        // At most: they are half as wide where weights are not f32.
        weights + tokens * width * size_of::<f32>()
    }

    /// SHA-256 of prompts and reference answers.
    pub(crate) fn fingerprint(&self) -> String {
        let mut bytes = Vec::new();
        for (prompt, gold) in self.prompts.iter().zip(&self.gold) {
            bytes.extend((prompt.len() as u64).to_le_bytes());
            bytes.extend(prompt.iter().flat_map(|id| id.to_le_bytes()));
            bytes.extend((gold.len() as u64).to_le_bytes());
            bytes.extend(gold.bytes());
        }
        sha256_bytes(&bytes)
    }
}

/// The base as `generate` keeps it; a GPU is left to what learns.
fn on_the_cpu() -> InferenceArgs {
    InferenceArgs {
        device: DeviceArg::Cpu,
        ..InferenceArgs::default()
    }
}

/// Answers and scores.
pub(crate) struct AnswerScorer {
    questions: Questions,
    prompter: Prompter,
    model: Model,
}

impl AnswerScorer {
    /// Packs the base for generating, as `generate` does.
    pub(crate) fn load(questions: Questions, opened: &Opened) -> Result<Self, StageError> {
        Ok(Self {
            questions,
            prompter: opened.prompter().clone(),
            model: loader::pack(&[opened], &on_the_cpu())?,
        })
    }

    /// The answers, or none where the user does not want to wait for them.
    fn answers(&mut self) -> Result<Option<Vec<Completion>>, smollm_model::ModelError> {
        let Questions {
            prompts, config, ..
        } = &self.questions;
        let completions = generate(&mut self.model, prompts, config, &mut |_| {
            if interrupt::requested() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        Ok((completions.len() == prompts.len()).then_some(completions))
    }

    fn measures(&self, answers: &[Completion]) -> Result<Measures, PromptError> {
        let mut pairs = Vec::with_capacity(answers.len());
        for (answer, gold) in answers.iter().zip(&self.questions.gold) {
            pairs.push((gold, self.prompter.decode(&answer.ids, true)?));
        }
        let options = ScoreOptions::default();
        let scored = score_rows(&pairs, &options, |(gold, text)| (gold, text.trim()));
        let scores = scored.iter().collect::<Summary>().scores(&options).all;
        let count = answers.len() as f64;
        let ended = |answer: &&Completion| answer.finish_reason == FinishReason::Stop;
        let stopped = answers.iter().filter(ended).count() as f64;
        let tokens: usize = answers.iter().map(|answer| answer.ids.len()).sum();
        let values = [
            scores.f1.unwrap_or(0.0),
            scores.rouge_l.unwrap_or(0.0),
            stopped / count,
            tokens as f64 / count,
        ];
        let named = NAMES.iter().zip(values);
        Ok(named
            .map(|((name, _), value)| ((*name).to_owned(), value))
            .collect())
    }
}

impl Scorer for AnswerScorer {
    fn names(&self) -> Vec<String> {
        NAMES.iter().map(|(name, _)| (*name).to_owned()).collect()
    }

    fn score(
        &mut self,
        trainable: &Trainable,
    ) -> Result<ControlFlow<(), Measures>, Box<dyn Error + Send + Sync>> {
        let adapter = trainable.to_adapter()?;
        self.model.clear_adapters();
        self.model.add_adapter(adapter.updates())?;
        let Some(answers) = self.answers()? else {
            return Ok(ControlFlow::Break(()));
        };
        Ok(ControlFlow::Continue(self.measures(&answers)?))
    }
}
