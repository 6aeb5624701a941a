//! Tasks through an engine, many at a time.

use std::collections::HashMap;

use smollm_model::{Completion, Decoder, Engine, EngineLimits, Event};
use stage::{OrExit, StageError, interrupt};

use crate::task::{Answer, Chosen, Draft, Task};

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Tokens generated.
    pub(crate) tokens: usize,
    /// Whether the user stopped it before everything was answered.
    pub(crate) interrupted: bool,
}

/// A task's number and its answers.
type Done = (usize, Vec<Answer>);

/// An answer in progress.
struct Live<'p> {
    draft: Draft<'p>,
    /// Number of its task, and which of the task's candidates it is.
    task: usize,
    candidate: usize,
}

struct Desk<'p, D: Decoder> {
    engine: Engine<D>,
    /// By the engine's number.
    live: HashMap<usize, Live<'p>>,
    /// Answers of a task's candidates, by the task's number, until all are there.
    open: HashMap<usize, Vec<Option<Answer>>>,
    tokens: usize,
}

/// Answers `tasks`, and gives each one's answers to `done` as soon as all of its candidates are there, with the task's
/// number (from 0, in the order of `tasks`) and the number of tokens so far.
///
/// # Errors
/// What the model, the tokenizer or `done` reports; nothing further is answered then.
pub(crate) fn work<'p, D: Decoder>(
    decoder: D,
    limits: EngineLimits,
    tasks: impl Iterator<Item = Task<'p>>,
    done: &mut dyn FnMut(usize, Vec<Answer>, usize) -> Result<(), StageError>,
) -> Result<Outcome, StageError> {
    let mut desk = Desk {
        engine: Engine::new(decoder, limits).or_usage()?,
        live: HashMap::new(),
        open: HashMap::new(),
        tokens: 0,
    };
    let mut tasks = tasks.enumerate();
    loop {
        // A few wait, so that a free slot never does; the rest need no memory yet.
        while desk.engine.waiting() < 2 * limits.batch_size {
            let Some((number, task)) = tasks.next() else {
                break;
            };
            desk.submit(number, &task)?;
        }
        let interrupted = interrupt::requested();
        if interrupted || desk.engine.is_idle() {
            return Ok(Outcome {
                tokens: desk.tokens,
                interrupted,
            });
        }
        for event in desk.engine.step().or_bad_data()? {
            if let Some((number, answers)) = desk.take(event)? {
                done(number, answers, desk.tokens)?;
            }
        }
    }
}

impl<'p, D: Decoder> Desk<'p, D> {
    fn submit(&mut self, number: usize, task: &Task<'p>) -> Result<(), StageError> {
        for candidate in 0..task.candidates {
            let request = task.candidate(candidate);
            let index = self.engine.submit(request).or_bad_data()?;
            let live = Live {
                draft: Draft::new(task),
                task: number,
                candidate,
            };
            self.live.insert(index, live);
        }
        self.open.insert(number, vec![None; task.candidates]);
        Ok(())
    }

    /// The task that is complete with this event, if any.
    fn take(&mut self, event: Event) -> Result<Option<Done>, StageError> {
        match event {
            Event::Token {
                index,
                id,
                logprob,
                top,
            } => {
                let Some(live) = self.live.get_mut(&index) else {
                    return Ok(None);
                };
                self.tokens += 1;
                if !live.draft.push(Chosen { id, logprob, top })? {
                    return Ok(None);
                }
                // Where the answer is complete with this token anyway, its completion follows.
                self.engine
                    .cancel(index)
                    .map_or(Ok(None), |completion| self.settle(&completion))
            }
            Event::Finished(completion) => self.settle(&completion),
        }
    }

    fn settle(&mut self, completion: &Completion) -> Result<Option<Done>, StageError> {
        let Some(live) = self.live.remove(&completion.index) else {
            return Ok(None);
        };
        let answer = live.draft.finish(completion)?;
        let Some(answers) = self.open.get_mut(&live.task) else {
            return Ok(None);
        };
        answers[live.candidate] = Some(answer);
        if answers.iter().any(Option::is_none) {
            return Ok(None);
        }
        let complete = self.open.remove_entry(&live.task);
        Ok(complete.map(|(task, answers)| (task, answers.into_iter().flatten().collect())))
    }
}
