//! Requests of OpenAI's batch API in, its responses out.
//!
//! Every line is answered by a line: what cannot be answered gets its error as a result, and the others go on. A line is
//! known by its `custom_id` and a hash of all it asks, so a request that was changed is answered anew and the rest stays.
//! What depends on the time elsewhere (`id`, `created`) follows from the request here: the same work, the same bytes.
//!
//! Source: <https://platform.openai.com/docs/guides/batch>.

mod ask;
mod line;
mod reply;

use std::sync::Arc;

use chat_prompt::Prompter;
use smollm_model::Request;
use stage::StageError;

use crate::answers::Asked;
use crate::args::Args;
use crate::sheet::Sheet;
use crate::task::{Answer, Task};
use crate::variants::{self, Variant};
use crate::{Summary, open_job, resume, summary, work_off};
use ask::Ask;
use line::Line;
use reply::{Refusal, Reply};

/// Does the work of the stage for requests.
///
/// # Errors
/// As [`crate::answer`].
pub(crate) fn answer(args: &Args) -> Result<Vec<Summary>, StageError> {
    let lines = line::read(&args.test_csv)?;
    let variants = variants::open(args)?;
    let manifest = resume::of_requests(args, &variants)?;
    let asked = args.limit.unwrap_or(lines.len()).min(lines.len());
    let sheet = Requests::new(args, &variants, &lines[..asked]);
    let names: Vec<Asked<'_>> = lines.iter().map(Line::asked).collect();
    let out_file = args.out_file.clone();
    let mut job = open_job(args, sheet, asked, &names, manifest, out_file)?;
    let spent = work_off(args, &variants, std::slice::from_mut(&mut job))?;
    let Some(first) = variants.first() else {
        return Ok(Vec::new());
    };
    let summary = Summary {
        errors: job.answers.all().filter(|reply| reply.is_error()).count(),
        cut_off: job.answers.all().filter(|reply| reply.is_cut_off()).count(),
        ..summary(&job, &first.opened, spent)
    };
    job.close()?;
    Ok(vec![summary])
}

/// A request that can be answered.
struct Prepared<'a> {
    ask: Ask,
    variant: &'a Variant,
    ids: Vec<u32>,
    stop: Arc<[String]>,
}

struct Requests<'a> {
    lines: &'a [Line],
    prepared: Vec<Result<Prepared<'a>, Refusal>>,
    stop_ids: Arc<[u32]>,
}

impl<'a> Requests<'a> {
    fn new(args: &Args, variants: &'a [Variant], lines: &'a [Line]) -> Self {
        let stop_ids = variants.first().map_or_else(Vec::new, |first| {
            loader::stop_ids(
                first.opened.prompter(),
                first.opened.config(),
                args.as_original(),
            )
        });
        let prepared = lines.iter().map(|line| prepare(args, variants, line));
        Self {
            lines,
            prepared: prepared.collect(),
            stop_ids: stop_ids.into(),
        }
    }
}

impl Sheet for Requests<'_> {
    type Record = Reply;

    fn task(&self, position: usize) -> Result<Task<'_>, Box<Reply>> {
        let line = &self.lines[position];
        let Prepared {
            ask,
            variant,
            ids,
            stop,
        } = self.prepared[position]
            .as_ref()
            .map_err(|refusal| Box::new(Reply::refused(line, refusal)))?;
        Ok(Task {
            prompter: variant.opened.prompter(),
            request: Request {
                prompt: ids.clone(),
                adapter: variant.adapter,
                max_new_tokens: ask.max_tokens,
                stop_ids: Arc::clone(&self.stop_ids),
                sampling: ask.sampling.clone(),
                top_logprobs: ask.top_logprobs,
            },
            stop: Arc::clone(stop),
            candidates: ask.n,
            logprobs: ask.logprobs,
        })
    }

    fn record(&self, position: usize, answers: Vec<Answer>) -> Result<Reply, StageError> {
        let line = &self.lines[position];
        match &self.prepared[position] {
            Err(refusal) => Ok(Reply::refused(line, refusal)),
            Ok(prepared) => {
                let prompter = prepared.variant.opened.prompter();
                Reply::new(line, &prepared.ask, prepared.ids.len(), &answers, prompter)
            }
        }
    }
}

fn prepare<'a>(args: &Args, variants: &'a [Variant], line: &Line) -> Result<Prepared<'a>, Refusal> {
    let body = line.body.as_ref().map_err(Refusal::clone)?;
    let ask = Ask::of(body, args, line.stream())?;
    let variant = find(variants, ask.model.as_deref(), args)?;
    let ids = prompt(&ask, variant.opened.prompter())?;
    let positions = variant.opened.config().max_position_embeddings;
    if ids.len() >= positions {
        return Err(Refusal {
            code: Some("context_length_exceeded"),
            ..Refusal::of(
                "messages",
                format!(
                    "the prompt has {} tokens, the model holds {positions} with its answer; shorten the messages",
                    ids.len()
                ),
            )
        });
    }
    Ok(Prepared {
        stop: ask.stop.as_slice().into(),
        ask,
        variant,
        ids,
    })
}

fn prompt(ask: &Ask, prompter: &Prompter) -> Result<Vec<u32>, Refusal> {
    let ids = prompter.encode_chat(&ask.messages, true);
    ids.map_err(|e| Refusal::of("messages", e.to_string()))
}

/// The variant that a request calls `model`. Without a name it is the first adapter, or the base where there is none.
fn find<'a>(
    variants: &'a [Variant],
    model: Option<&str>,
    args: &Args,
) -> Result<&'a Variant, Refusal> {
    let default = variants
        .iter()
        .find(|variant| variant.adapter.is_some())
        .or(variants.first());
    let found = match model {
        None => default,
        Some(name) if args.served_model_name.as_deref() == Some(name) => default,
        Some(name) => variants
            .iter()
            .find(|variant| names(variant).contains(&name)),
    };
    found.ok_or_else(|| {
        let known: Vec<&str> = variants.iter().flat_map(names).collect();
        Refusal {
            status: 404,
            code: Some("model_not_found"),
            ..Refusal::of(
                "model",
                format!(
                    "there is no model {:?}, but {}; --served_model_name gives it another name",
                    model.unwrap_or_default(),
                    known.join(", ")
                ),
            )
        }
    })
}

/// What requests may call a variant: an adapter by its folder; the base `base`, by the name it was given, or the last
/// part of that.
fn names(variant: &Variant) -> Vec<&str> {
    let mut names = vec![variant.name.as_str()];
    if variant.adapter.is_none() {
        let base = variant.opened.base_name();
        names.push(base);
        names.extend(base.rsplit('/').next().filter(|last| *last != base));
    }
    names
}
