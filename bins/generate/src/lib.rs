//! Answer every row of a data file: rows in, one JSON line a row out.
//!
//! The stage finds the model and checks that it fits before it reads a weight, turns rows into
//! prompts, and appends answers as they finish; at the end the file is in the order of the rows. Beside the output file
//! lies `<out_file>.manifest.json`, which says what the answers were made from: the same command goes on
//! where it was stopped, and another model or setting is refused instead of mixed in.
//!
//! The same is done for the requests of OpenAI's batch API (`--format openai`), and with several adapters of one base in
//! one process.

#![forbid(unsafe_code)]

mod answers;
mod args;
mod check;
mod openai;
mod record;
mod resume;
mod rows;
mod sheet;
mod task;
mod variants;
mod work;

use std::io::Write as _;
use std::path::PathBuf;

use serde::Serialize;
use stage::{Manifest, StageError, interrupt};

pub use args::{Args, Compat, Format, Shard};
pub use record::{Prediction, TokenLogprob};

use answers::{Answers, Asked};
use rows::{Question, Rows};
use sheet::{Job, Sheet};
use variants::Variant;

/// What came of one output file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The output file.
    pub out_file: String,
    /// The model.
    pub model: String,
    /// The adapter, if any.
    pub adapter: Option<String>,
    /// Rows, or requests, with a line in the file.
    pub rows: usize,
    /// Those that were there before.
    pub resumed: usize,
    /// Records of the data file that were dropped because a field is blank.
    pub dropped: usize,
    /// Rows that cannot be answered; the file says why.
    pub errors: usize,
    /// Rows whose prompt had to be shortened.
    pub truncated: usize,
    /// Answers that were cut off at `--max_new_tokens`.
    pub cut_off: usize,
    /// Tokens generated now, for all output files together.
    pub new_tokens: usize,
    /// Seconds that took, without loading.
    pub seconds: f64,
    /// Tokens a second.
    pub tokens_per_s: f64,
}

/// Several output files, as `--json` prints them.
#[derive(Debug, Serialize)]
struct Outputs<'a> {
    outputs: &'a [Summary],
}

/// Runs the stage and prints what came of it.
///
/// # Errors
/// As [`answer`]; also when standard output cannot be written.
pub fn run(args: &Args) -> Result<(), StageError> {
    let summaries = answer(args)?;
    match summaries.as_slice() {
        [summary] if args.json => return stage::emit_json(summary),
        outputs if args.json => return stage::emit_json(&Outputs { outputs }),
        _ => {}
    }
    for summary in &summaries {
        stage::emit(&summary.line(args.max_new_tokens))?;
    }
    Ok(())
}

impl Summary {
    fn line(&self, max_new_tokens: usize) -> String {
        let errors = match self.errors {
            0 => String::new(),
            errors => format!(", {errors} could not be answered"),
        };
        format!(
            "{} answers in {} ({} new, {} cut off at {max_new_tokens} tokens, {} with a shortened prompt{errors}); \
             {:.1} tokens/s",
            self.rows,
            self.out_file,
            self.rows - self.resumed,
            self.cut_off,
            self.truncated,
            self.tokens_per_s,
        )
    }
}

/// Does the work of the stage and prints nothing on standard output. There is a summary for each output file.
///
/// # Errors
/// Exit code 2 for flags that contradict each other or an output file of other work, 3 for rows or
/// models that cannot be read or used, 130 after Ctrl-C (finished rows are kept), 1 when writing
/// fails.
pub fn answer(args: &Args) -> Result<Vec<Summary>, StageError> {
    args.check()?;
    interrupt::install();
    match args.format {
        Format::Rows => answer_rows(args),
        Format::Openai => openai::answer(args),
    }
}

fn answer_rows(args: &Args) -> Result<Vec<Summary>, StageError> {
    let (mut questions, dropped) = rows::questions(&args.test_csv)?;
    if let Some(shard) = args.shard {
        let mut position = 0..;
        questions.retain(|_| position.next().is_some_and(|at| shard.has(at)));
    }
    let variants = variants::open(args)?;
    let asked = args.limit.unwrap_or(questions.len()).min(questions.len());
    // What cannot be used is told before anything is written.
    let plans = plan_rows(args, &variants, &questions[..asked])?;
    let names: Vec<Asked<'_>> = questions.iter().map(Question::asked).collect();
    let mut jobs = Vec::new();
    for (sheet, manifest, out_file) in plans {
        jobs.push(open_job(args, sheet, asked, &names, manifest, out_file)?);
    }
    let spent = work_off(args, &variants, &mut jobs)?;
    let mut summaries = Vec::new();
    for (mut job, variant) in jobs.into_iter().zip(&variants) {
        let answers = || job.answers.all();
        let ends = |reason: &str| answers().filter(|a| a.finish_reason == reason).count();
        summaries.push(Summary {
            adapter: variant.adapter_dir(),
            dropped,
            errors: ends("error"),
            truncated: answers().filter(|answer| answer.truncated).count(),
            cut_off: ends("length"),
            ..summary(&job, &variant.opened, spent)
        });
        job.manifest = job.manifest.fact("dropped", dropped);
        job.close()?;
    }
    Ok(summaries)
}

/// Rows for a variant, what their answers depend on, and where these go.
type Plan<'a> = (Rows<'a>, Manifest, PathBuf);

fn plan_rows<'a>(
    args: &'a Args,
    variants: &'a [Variant],
    questions: &'a [Question],
) -> Result<Vec<Plan<'a>>, StageError> {
    let plan = |variant: &'a Variant| {
        let out_file = match variants {
            [_] => args.out_file.clone(),
            _ => variants::out_file(&args.out_file, &variant.name),
        };
        let sheet = Rows::new(args, variant, questions)?;
        Ok((sheet, resume::of_rows(args, variant)?, out_file))
    };
    variants.iter().map(plan).collect()
}

/// Makes the output file ready and reads what it holds.
fn open_job<S: Sheet>(
    args: &Args,
    sheet: S,
    asked: usize,
    names: &[Asked<'_>],
    manifest: Manifest,
    out_file: PathBuf,
) -> Result<Job<S>, StageError> {
    resume::begin(&out_file, args.overwrite, &manifest)?;
    let answers = Answers::open(&out_file, names)?;
    Ok(Job {
        sheet,
        asked,
        resumed: answers.count(),
        answers,
        manifest,
        out_file,
    })
}

/// Answers what is missing; returns how many tokens that took, and how many seconds. Loads no weights where nothing is.
fn work_off<S: Sheet>(
    args: &Args,
    variants: &[Variant],
    jobs: &mut [Job<S>],
) -> Result<(usize, f64), StageError> {
    let mut refused = 0;
    for job in &mut *jobs {
        refused += job.refuse()?;
    }
    if refused > 0 {
        note(&format!(
            "{refused} cannot be answered; their lines in the output file say why"
        ));
    }
    let missing = jobs.iter().any(|job| job.missing().next().is_some());
    if !missing && args.check_batch == 0 {
        for job in jobs {
            job.answers.finish()?;
        }
        return Ok((0, 0.0));
    }
    let longest = variants
        .first()
        .map(|variant| variant.opened.config().max_position_embeddings);
    if let Some(positions) = longest.filter(|positions| args.max_new_tokens >= *positions) {
        note(&format!(
            "--max_new_tokens is {}, but the model holds {positions} tokens with the prompt: an answer ends there",
            args.max_new_tokens
        ));
    }
    let mut model = variants::load(variants, &args.inference)?;
    let spent = sheet::complete(jobs, &mut model, args.limits())?;
    check::alone(jobs, args.check_batch, &mut model)?;
    Ok(spent)
}

/// One line for people, on standard error; a closed one is no reason to stop.
fn note(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// What every kind of sheet can tell.
fn summary<S: Sheet>(job: &Job<S>, opened: &loader::Opened, spent: (usize, f64)) -> Summary {
    let (new_tokens, seconds) = spent;
    Summary {
        out_file: job.out_file.display().to_string(),
        model: opened.description().to_owned(),
        adapter: None,
        rows: job.answers.count(),
        resumed: job.resumed,
        dropped: 0,
        errors: 0,
        truncated: 0,
        cut_off: 0,
        new_tokens,
        seconds,
        tokens_per_s: if seconds > 0.0 {
            new_tokens as f64 / seconds
        } else {
            0.0
        },
    }
}
