//! What all handlers share.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use smollm_model::EngineLimits;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::api_error::ApiError;
use crate::keys::Keys;
use crate::metrics::Metrics;
use crate::models::Models;
use crate::worker::Job;

/// What a server takes on, and how long it waits.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How much the engine takes on at a time.
    pub engine: EngineLimits,
    /// Answers that may wait while `engine.batch_size` are generated; more are refused with 429.
    pub queue: usize,
    /// Longest answer that may be asked for, in tokens.
    pub max_tokens: usize,
    /// Longest body of a request, in bytes.
    pub max_body: usize,
    /// Connections open at a time; others wait in the system's queue.
    pub max_connections: usize,
    /// Longest time for a whole request.
    pub timeout: Duration,
    /// Longest time for a request's head, for its body, and for a client that reads nothing.
    pub patience: Duration,
    /// Longest time that running requests get to finish when the server is asked to stop.
    pub drain: Duration,
    /// Keys of which a client must know one; none lets everyone in.
    pub keys: Keys,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            engine: EngineLimits::default(),
            queue: 64,
            max_tokens: 4096,
            max_body: 1 << 20,
            max_connections: 1000,
            timeout: Duration::from_mins(10),
            patience: Duration::from_secs(30),
            drain: Duration::from_secs(30),
            keys: Keys::default(),
        }
    }
}

impl Settings {
    /// Answers that run and wait at most.
    pub(crate) fn capacity(&self) -> usize {
        self.engine
            .batch_size
            .saturating_add(self.queue)
            .min(1 << 20)
    }
}

/// How far a server is on its way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Open,
    /// No new requests; those that run are finished.
    Draining,
    /// What still runs is cut off.
    Cut,
}

/// What all handlers share.
pub(crate) struct App {
    pub(crate) models: Models,
    pub(crate) settings: Settings,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) jobs: std_mpsc::Sender<Job>,
    /// One permit for each answer that runs or waits.
    pub(crate) room: Arc<Semaphore>,
    pub(crate) phase: watch::Receiver<Phase>,
    /// Seconds since 1970.
    pub(crate) started: u64,
}

impl App {
    /// Whether new requests are refused.
    pub(crate) fn stopping(&self) -> bool {
        *self.phase.borrow() != Phase::Open
    }

    /// Room for `answers` answers, kept until it is dropped.
    pub(crate) fn admit(&self, answers: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        if self.stopping() {
            return Err(ApiError::stopping());
        }
        let capacity = self.settings.capacity();
        if answers > capacity {
            return Err(ApiError::bad_request(format!(
                "the request asks for {answers} answers (prompts times `n`); this server takes on at most {capacity}"
            )));
        }
        let permits = u32::try_from(answers).unwrap_or(u32::MAX);
        let room = self.room.clone().try_acquire_many_owned(permits);
        room.map_err(|_| ApiError::full(capacity))
    }
}

/// A number that nobody can guess, from the system's randomness.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
