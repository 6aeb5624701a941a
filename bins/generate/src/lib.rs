//! Answer every row of a data file: rows in, one JSON line a row out.
//!
//! The stage finds the model and checks that it fits before it reads a weight, turns rows into
//! prompts, and appends answers in the order of the rows. Beside the output file lies
//! `<out_file>.manifest.json`, which says what the answers were made from: the same command goes on
//! where it was stopped, and another model or setting is refused instead of mixed in.

#![forbid(unsafe_code)]

mod answers;
mod args;
mod check;
mod prompts;
mod record;
mod resume;

use std::ops::ControlFlow;
use std::time::Instant;

use loader::{LoadError, Loaded};
use serde::Serialize;
use smollm_model::{Completion, GenerationConfig, GenerationEvent};
use stage::{Manifest, OrExit, Progress, StageError, interrupt};

pub use args::{Args, Compat, Precision, Shard};
pub use record::Prediction;

use answers::Answers;
use prompts::{Prompt, Question};

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The output file.
    pub out_file: String,
    /// The model.
    pub model: String,
    /// The adapter, if any.
    pub adapter: Option<String>,
    /// Rows with an answer in the file.
    pub rows: usize,
    /// Those that were there before.
    pub resumed: usize,
    /// Records of the data file that were dropped because a field is blank.
    pub dropped: usize,
    /// Rows whose prompt had to be shortened.
    pub truncated: usize,
    /// Answers that were cut off at `--max_new_tokens`.
    pub cut_off: usize,
    /// Tokens generated now.
    pub new_tokens: usize,
    /// Seconds that took, without loading.
    pub seconds: f64,
    /// Tokens a second.
    pub tokens_per_s: f64,
}

/// Runs the stage and prints what came of it.
///
/// # Errors
/// As [`answer`]; also when standard output cannot be written.
pub fn run(args: &Args) -> Result<(), StageError> {
    let summary = answer(args)?;
    if args.json {
        return stage::emit_json(&summary);
    }
    stage::emit(&format!(
        "{} answers in {} ({} new, {} cut off at {} tokens, {} with a shortened prompt); {:.1} \
         tokens/s",
        summary.rows,
        summary.out_file,
        summary.rows - summary.resumed,
        summary.cut_off,
        args.max_new_tokens,
        summary.truncated,
        summary.tokens_per_s,
    ))
}

/// Does the work of the stage and prints nothing on standard output.
///
/// # Errors
/// Exit code 2 for flags that contradict each other or an output file of other work, 3 for rows or
/// models that cannot be read or used, 130 after Ctrl-C (finished rows are kept), 1 when writing
/// fails.
pub fn answer(args: &Args) -> Result<Summary, StageError> {
    check_settings(args)?;
    interrupt::install();
    let (mut questions, dropped) = prompts::questions(&args.test_csv)?;
    if let Some(shard) = args.shard {
        let mut position = 0..;
        questions.retain(|_| position.next().is_some_and(|at| shard.has(at)));
    }
    let opened = loader::open(&args.model()).map_err(load_error)?;
    let trained = opened.adapter().map(|(dir, _)| dir);
    let system = stage::system_prompt(args.system.as_deref(), trained, args.force_system)?;
    let opened = opened.with_system(system).with_date(args.date);
    let adapter = opened.adapter().map(|(dir, _)| dir.display().to_string());
    let all = questions.len();
    let asked = args.limit.unwrap_or(all).min(all);
    // A prompt that cannot be made is told before anything is written.
    let prompts = prompts::prompts(&questions[..asked], &opened, args)?;
    let mut manifest = resume::manifest(args, &opened)?;
    resume::begin(args, &manifest)?;
    let mut answers = Answers::open(&args.out_file, &questions)?;
    let resumed = answers.count();
    questions.truncate(asked);
    let missing: Vec<usize> = answers
        .missing()
        .into_iter()
        .filter(|at| *at < questions.len())
        .collect();

    let model = opened.description().to_owned();
    let rows = (questions.as_slice(), prompts.as_slice());
    let (new_tokens, seconds) = if missing.is_empty() && args.check_batch == 0 {
        answers.finish()?;
        (0, 0.0)
    } else {
        let loaded = opened.load(args.dtype()).map_err(load_error)?;
        let spent = complete(args, &loaded, rows, &missing, &mut answers)?;
        check::alone(args, &loaded, rows, &answers)?;
        spent
    };
    manifest = manifest
        .fact("complete", answers.count() == all)
        .fact("rows", answers.count());
    manifest = manifest.fact("dropped", dropped);
    finish(args, manifest)?;
    Ok(Summary {
        out_file: args.out_file.display().to_string(),
        model,
        adapter,
        rows: answers.count(),
        resumed,
        dropped,
        truncated: answers.all().filter(|answer| answer.truncated).count(),
        cut_off: answers
            .all()
            .filter(|answer| answer.finish_reason == "length")
            .count(),
        new_tokens,
        seconds,
        tokens_per_s: if seconds > 0.0 {
            new_tokens as f64 / seconds
        } else {
            0.0
        },
    })
}

/// Settings that make no sense, told before anything is read.
fn check_settings(args: &Args) -> Result<(), StageError> {
    let wrong = |flag: &str, found: String, expected: &str| {
        Err(StageError::usage(format!(
            "{flag} is {found}, expected {expected}"
        )))
    };
    for (flag, value) in [
        ("--max_prompt_len", args.max_prompt_len),
        ("--max_new_tokens", args.max_new_tokens),
        ("--batch_size", args.batch_size),
    ] {
        if value == 0 {
            return wrong(flag, "0".to_owned(), "at least 1");
        }
    }
    if !(args.temperature.is_finite() && args.temperature >= 0.0) {
        return wrong("--temperature", args.temperature.to_string(), "0 or more");
    }
    if args.top_k == Some(0) {
        return wrong("--top_k", "0".to_owned(), "at least 1");
    }
    if !(args.repetition_penalty.is_finite() && args.repetition_penalty > 0.0) {
        let found = args.repetition_penalty.to_string();
        return wrong("--repetition_penalty", found, "above 0; 1 changes nothing");
    }
    for (flag, share) in [("--top_p", args.top_p), ("--min_p", args.min_p)] {
        if let Some(p) = share.filter(|p| !(*p > 0.0 && *p <= 1.0)) {
            return wrong(flag, p.to_string(), "above 0 and at most 1");
        }
    }
    Ok(())
}

fn load_error(error: LoadError) -> StageError {
    if error.is_usage() {
        StageError::usage(error)
    } else {
        StageError::bad_data(error)
    }
}

/// How answers are generated, but for the names of the rows' draws.
fn settings(args: &Args, loaded: &Loaded) -> GenerationConfig {
    let original = args.as_original();
    args.generation(loader::stop_ids(
        &loaded.prompter,
        loaded.model.config(),
        original,
    ))
}

/// Answers the rows at `missing`; returns how many tokens that took, and how long.
fn complete(
    args: &Args,
    loaded: &Loaded,
    rows: (&[Question], &[Prompt]),
    missing: &[usize],
    answers: &mut Answers,
) -> Result<(usize, f64), StageError> {
    let (questions, prompts) = rows;
    let config = GenerationConfig {
        streams: missing.iter().map(|at| questions[*at].stream()).collect(),
        ..settings(args, loaded)
    };
    let ids: Vec<Vec<u32>> = missing.iter().map(|at| prompts[*at].ids.clone()).collect();

    let started = Instant::now();
    let progress = Progress::new("answering", missing.len() as u64);
    let (mut tokens, mut failure) = (0_usize, None);
    let generated = smollm_model::generate(&loaded.model, &ids, &config, &mut |event| {
        match event {
            GenerationEvent::Token { .. } => tokens += 1,
            GenerationEvent::Finished(answer) => {
                let at = missing[answer.index];
                let kept = record(loaded, &questions[at], &prompts[at], &answer)
                    .and_then(|record| answers.add(at, record));
                progress.inc(1);
                let rate = tokens as f64 / started.elapsed().as_secs_f64();
                progress.status(format!("{rate:.1} tokens/s"));
                if let Err(error) = kept {
                    failure = Some(error);
                    return ControlFlow::Break(());
                }
            }
        }
        if interrupt::requested() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    progress.finish();
    if let Some(error) = failure {
        return Err(error);
    }
    // Whatever happened, finished rows are kept.
    answers.finish()?;
    generated.or_bad_data()?;
    let done = missing.iter().filter(|at| answers.has(**at)).count();
    if done < missing.len() {
        return Err(StageError::interrupted(format!(
            "interrupted; {} answers are kept in {}, the same command goes on from there",
            answers.count(),
            args.out_file.display()
        )));
    }
    Ok((tokens, started.elapsed().as_secs_f64()))
}

fn record(
    loaded: &Loaded,
    question: &Question,
    prompt: &Prompt,
    answer: &Completion,
) -> Result<Prediction, StageError> {
    let text = loaded.prompter.decode(&answer.ids, true).or_failed()?;
    Ok(Prediction::new(question, &text, answer, prompt))
}

/// Writes the manifest that belongs to the finished file.
fn finish(args: &Args, mut manifest: Manifest) -> Result<(), StageError> {
    manifest.add_output(&args.out_file)?;
    manifest.write(&resume::manifest_path(&args.out_file))
}
