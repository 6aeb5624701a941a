//! The thread that owns the engine. Everything else talks to it through channels.
//!
//! A request brings the channel that its tokens go to. The channel has room for the whole answer, so the engine never
//! waits for a client; a channel that was dropped by its reader is how a request is cancelled.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::time::Instant;

use smollm_model::{Decoder, Engine, EngineLimits, Event, FinishReason, ModelError, Request};
use tokio::sync::{mpsc, oneshot};

use crate::metrics::Metrics;

/// A request on its way to the engine.
pub(crate) struct Job {
    pub(crate) request: Request,
    pub(crate) told: mpsc::Sender<Told>,
    pub(crate) arrived: Instant,
}

/// What the engine tells about a request.
#[derive(Debug)]
pub(crate) enum Told {
    Token {
        id: u32,
        logprob: f64,
        top: Vec<(u32, f64)>,
    },
    End(FinishReason),
    Failed(String),
}

/// Does the work of a server; see [`Worker::run`].
pub struct Worker {
    pub(crate) jobs: std_mpsc::Receiver<Job>,
    pub(crate) limits: EngineLimits,
    pub(crate) metrics: Arc<Metrics>,
    /// Dropped when the worker ends, however it ends.
    pub(crate) _alive: oneshot::Sender<()>,
}

/// Who is told about a request.
struct Asker {
    told: mpsc::Sender<Told>,
    /// When the request came, then when its last token did.
    last: Instant,
    begun: bool,
}

impl Worker {
    /// Answers requests with `decoder` until the server ends.
    ///
    /// # Errors
    /// If the model fails. The server ends then.
    pub fn run<D: Decoder>(self, decoder: D) -> Result<(), ModelError> {
        let mut engine = Engine::new(decoder, self.limits)?;
        let mut askers = HashMap::new();
        loop {
            self.metrics.load(engine.running(), engine.waiting());
            if engine.is_idle() {
                match self.jobs.recv() {
                    Ok(job) => submit(&mut engine, &mut askers, job),
                    Err(std_mpsc::RecvError) => return Ok(()),
                }
            }
            while let Ok(job) = self.jobs.try_recv() {
                submit(&mut engine, &mut askers, job);
            }
            askers.retain(|index, asker: &mut Asker| {
                let gone = asker.told.is_closed();
                if gone {
                    engine.cancel(*index);
                }
                !gone
            });
            let events = match engine.step() {
                Ok(events) => events,
                Err(error) => {
                    for asker in askers.values() {
                        // Who went away need not be told.
                        let _ = asker.told.try_send(Told::Failed(error.to_string()));
                    }
                    return Err(error);
                }
            };
            for event in events {
                self.tell(&mut askers, event);
            }
        }
    }

    fn tell(&self, askers: &mut HashMap<usize, Asker>, event: Event) {
        let (index, told) = match event {
            Event::Token {
                index,
                id,
                logprob,
                top,
            } => (index, Told::Token { id, logprob, top }),
            Event::Finished(answer) => (answer.index, Told::End(answer.finish_reason)),
        };
        let ended = matches!(told, Told::End(_));
        if let Some(asker) = askers.get_mut(&index) {
            if !ended {
                let now = Instant::now();
                let waited = now - asker.last;
                if asker.begun {
                    self.metrics.next_token.observe(waited);
                } else {
                    self.metrics.first_token.observe(waited);
                }
                self.metrics.generated_tokens.add(1);
                (asker.last, asker.begun) = (now, true);
            }
            // There is room; who went away is noticed before the next step.
            let _ = asker.told.try_send(told);
        }
        if ended {
            askers.remove(&index);
        }
    }
}

fn submit<D: Decoder>(engine: &mut Engine<D>, askers: &mut HashMap<usize, Asker>, job: Job) {
    match engine.submit(job.request) {
        Ok(index) => {
            let asker = Asker {
                told: job.told,
                last: job.arrived,
                begun: false,
            };
            askers.insert(index, asker);
        }
        // It was checked before; a decoder may still know better.
        Err(error) => drop(job.told.try_send(Told::Failed(error.to_string()))),
    }
}
