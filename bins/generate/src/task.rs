//! One prompt, how to answer it, and what came of it.

use std::sync::Arc;

use chat_prompt::{Prompter, StopText, TextStream};
use smollm_model::{Completion, FinishReason, Request};
use stage::{OrExit, StageError};

/// Something to be answered, once or several times.
pub(crate) struct Task<'p> {
    pub(crate) prompter: &'p Prompter,
    /// What the engine is asked for the first candidate.
    pub(crate) request: Request,
    /// An answer ends where one of these begins.
    pub(crate) stop: Arc<[String]>,
    /// How many answers are drawn, at least one.
    pub(crate) candidates: usize,
    /// Whether the answer tells its tokens.
    pub(crate) logprobs: bool,
}

impl Task<'_> {
    /// What the engine is asked for a candidate: each draws from a stream of its own, the first from the task's.
    pub(crate) fn candidate(&self, number: usize) -> Request {
        const APART: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut request = self.request.clone();
        let stream = &mut request.sampling.stream;
        *stream = stream.wrapping_add(APART.wrapping_mul(number as u64));
        request
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finish {
    /// The model ended it, or a stop string did.
    Stop,
    /// It was cut off.
    Length,
}

impl Finish {
    /// The word that stands for it in files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// A token of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chosen {
    pub(crate) id: u32,
    pub(crate) logprob: f64,
    /// The most likely tokens at its place.
    pub(crate) top: Vec<(u32, f64)>,
}

/// One answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    /// The text, up to a stop string.
    pub(crate) text: String,
    pub(crate) finish: Finish,
    /// Tokens that were generated, without the end token.
    pub(crate) new_tokens: usize,
    pub(crate) mean_logprob: Option<f64>,
    /// The tokens, where they were asked for.
    pub(crate) tokens: Vec<Chosen>,
}

impl Answer {
    /// The likeliest of several, by mean log-probability; the first of equals.
    pub(crate) fn best(answers: Vec<Self>) -> Option<Self> {
        let likelihood = |answer: &Self| answer.mean_logprob.unwrap_or(f64::NEG_INFINITY);
        answers.into_iter().reduce(|best, next| {
            if likelihood(&next) > likelihood(&best) {
                next
            } else {
                best
            }
        })
    }
}

/// An answer that is being generated.
pub(crate) struct Draft<'p> {
    prompter: &'p Prompter,
    /// Text as it comes, where a stop string may end it; otherwise it is decoded at the end.
    watched: Option<(TextStream<'p>, StopText)>,
    text: String,
    logprobs: bool,
    tokens: Vec<Chosen>,
}

impl<'p> Draft<'p> {
    pub(crate) fn new(task: &Task<'p>) -> Self {
        let watched = (!task.stop.is_empty()).then(|| {
            let stop = StopText::new(task.stop.iter().cloned());
            (task.prompter.stream(), stop)
        });
        Self {
            prompter: task.prompter,
            watched,
            text: String::new(),
            logprobs: task.logprobs,
            tokens: Vec::new(),
        }
    }

    /// Takes the next token; whether a stop string is complete with it.
    pub(crate) fn push(&mut self, token: Chosen) -> Result<bool, StageError> {
        let id = token.id;
        if self.logprobs {
            self.tokens.push(token);
        }
        let Some((stream, stop)) = &mut self.watched else {
            return Ok(false);
        };
        self.text += &stop.push(&stream.push(id).or_failed()?);
        Ok(stop.is_stopped())
    }

    /// The answer, now that its last token is there.
    pub(crate) fn finish(mut self, completion: &Completion) -> Result<Answer, StageError> {
        let mut finish = match completion.finish_reason {
            FinishReason::Stop | FinishReason::Cancelled => Finish::Stop,
            FinishReason::Length => Finish::Length,
        };
        let text = match &mut self.watched {
            None => self.prompter.decode(&completion.ids, true).or_failed()?,
            Some((stream, stop)) => {
                self.text += &stop.push(&stream.finish().or_failed()?);
                self.text += &stop.finish();
                if stop.is_stopped() {
                    finish = Finish::Stop;
                }
                self.text
            }
        };
        Ok(Answer {
            text,
            finish,
            new_tokens: completion.ids.len(),
            mean_logprob: completion.mean_logprob.map(six_decimals),
            tokens: self.tokens,
        })
    }
}

/// So few digits are read back as they were written.
pub(crate) fn six_decimals(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}
