//! Threads that walk through a forward pass together.
//!
//! A pass has some three hundred phases, each a few microseconds long when one token is decoded. Handing each phase to a
//! thread pool costs about as much as the phase; so every thread runs the whole pass and meets the others at a barrier
//! between phases. Waiting threads spin for a short time, then yield, then (between passes) sleep.

use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Rounds of spinning before a waiting thread gives its core away.
const SPINS: u32 = 2_000;

/// Yields between passes before a thread sleeps: about as long as sampling takes.
const YIELDS: u32 = 200;

/// One of the threads of a [`Team`], as the work sees it.
#[derive(Clone, Copy)]
pub(super) struct Worker<'a> {
    /// From 0.
    pub(super) index: usize,
    /// How many there are.
    pub(super) count: usize,
    barrier: &'a Barrier,
}

impl Worker<'_> {
    /// Waits until every worker is here; what they wrote before is seen after.
    pub(super) fn meet(&self) {
        self.barrier.wait(self.count);
    }

    /// This worker's part of `n` things, in pieces of `grain`.
    pub(super) fn share(&self, n: usize, grain: usize) -> Range<usize> {
        let pieces = n.div_ceil(grain);
        let bound = |i: usize| (pieces * i / self.count * grain).min(n);
        bound(self.index)..bound(self.index + 1)
    }
}

#[derive(Debug, Default)]
struct Barrier {
    arrived: AtomicUsize,
    generation: AtomicUsize,
    /// A worker panicked: nobody may wait for it.
    broken: AtomicBool,
}

impl Barrier {
    fn wait(&self, count: usize) {
        let generation = self.generation.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == count {
            self.arrived.store(0, Ordering::Relaxed);
            self.generation.fetch_add(1, Ordering::Release);
            return;
        }
        let mut spins = 0;
        while self.generation.load(Ordering::Acquire) == generation {
            assert!(
                !self.broken.load(Ordering::Relaxed),
                "another thread of the forward pass panicked"
            );
            pause(&mut spins);
        }
    }
}

/// Spins at first, then lets others run.
fn pause(spins: &mut u32) {
    if *spins < SPINS {
        *spins += 1;
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}

/// What the threads share.
struct Shared {
    barrier: Barrier,
    /// Number of the job, and the job while there is one.
    job: Mutex<(usize, Option<Job>)>,
    /// The same number, to be watched without the lock.
    announced: AtomicUsize,
    wake: Condvar,
    /// Workers that are through with the job.
    done: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    stop: AtomicBool,
}

type Work<'a> = dyn Fn(Worker<'_>) + Sync + 'a;

/// The work of one pass, its lifetime erased.
#[derive(Clone, Copy)]
struct Job(*const Work<'static>);

// SAFETY: the work is `Sync`, and `Team::run` does not return before every worker is through with it.
unsafe impl Send for Job {}

/// Threads that do the same work together; the calling thread is one of them.
pub(super) struct Team {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Team {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Team of {}", self.count())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Team {
    /// A team of `count` threads (at least one).
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(super) fn new(count: usize) -> std::io::Result<Self> {
        let mut team = Self {
            shared: Arc::new(Shared {
                barrier: Barrier::default(),
                job: Mutex::new((0, None)),
                announced: AtomicUsize::new(0),
                wake: Condvar::new(),
                done: AtomicUsize::new(0),
                panic: Mutex::new(None),
                stop: AtomicBool::new(false),
            }),
            threads: Vec::new(),
        };
        let count = count.max(1);
        for index in 1..count {
            let shared = Arc::clone(&team.shared);
            let thread = std::thread::Builder::new()
                .name(format!("pass-{index}"))
                .spawn(move || shared.serve(index, count))?;
            team.threads.push(thread);
        }
        Ok(team)
    }

    /// How many threads work.
    pub(super) fn count(&self) -> usize {
        self.threads.len() + 1
    }

    /// Runs `work` on every thread and returns when all are through.
    ///
    /// # Panics
    /// If `work` does.
    pub(super) fn run(&mut self, work: &Work<'_>) {
        let shared = &*self.shared;
        #[allow(
            clippy::transmute_ptr_to_ptr,
            reason = "a cast cannot lengthen the lifetime"
        )]
        // SAFETY: only the lifetime changes; this function waits for all workers below, so none uses it afterwards.
        let job =
            Job(unsafe { std::mem::transmute::<*const Work<'_>, *const Work<'static>>(work) });
        shared.done.store(0, Ordering::Relaxed);
        {
            let mut slot = lock(&shared.job);
            *slot = (slot.0 + 1, Some(job));
            shared.announced.store(slot.0, Ordering::Release);
        }
        shared.wake.notify_all();
        shared.work(0, self.count(), work);
        let mut spins = 0;
        while shared.done.load(Ordering::Acquire) < self.count() {
            pause(&mut spins);
        }
        lock(&shared.job).1 = None;
        if let Some(panic) = lock(&shared.panic).take() {
            shared.barrier.broken.store(false, Ordering::Relaxed);
            shared.barrier.arrived.store(0, Ordering::Relaxed);
            resume_unwind(panic);
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        {
            let _slot = lock(&self.shared.job);
            self.shared.stop.store(true, Ordering::Release);
        }
        self.shared.wake.notify_all();
        for thread in self.threads.drain(..) {
            // A worker's panic was passed on by `run`.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// The life of a thread.
    fn serve(&self, index: usize, count: usize) {
        let mut last = 0;
        while let Some((number, Job(work))) = self.next(last) {
            last = number;
            // SAFETY: `Team::run` keeps the work alive until `done` says that all are through.
            self.work(index, count, unsafe { &*work });
        }
    }

    /// The job after number `last`; `None` when the team is dropped.
    fn next(&self, last: usize) -> Option<(usize, Job)> {
        let mut spins = 0;
        while self.announced.load(Ordering::Acquire) == last
            && !self.stop.load(Ordering::Acquire)
            && spins < SPINS + YIELDS
        {
            if spins >= SPINS {
                spins += 1;
            }
            pause(&mut spins);
        }
        let mut slot = lock(&self.job);
        loop {
            if self.stop.load(Ordering::Acquire) {
                return None;
            }
            match *slot {
                (number, Some(job)) if number != last => return Some((number, job)),
                _ => slot = self.wake.wait(slot).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn work(&self, index: usize, count: usize, work: &Work<'_>) {
        let worker = Worker {
            index,
            count,
            barrier: &self.barrier,
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(worker))) {
            self.barrier.broken.store(true, Ordering::Relaxed);
            lock(&self.panic).get_or_insert(panic);
        }
        self.done.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_follow_each_other_on_all_threads() {
        for count in [1, 2, 5] {
            let mut team = Team::new(count).unwrap();
            assert_eq!(team.count(), count);
            for _ in 0..50 {
                let cells: Vec<AtomicUsize> = (0..97).map(|_| AtomicUsize::new(1)).collect();
                let sums: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                team.run(&|worker| {
                    for _ in 0..20 {
                        for i in worker.share(cells.len(), 2) {
                            cells[i].fetch_add(1, Ordering::Relaxed);
                        }
                        worker.meet();
                        let sum: usize = cells.iter().map(|c| c.load(Ordering::Relaxed)).sum();
                        sums[worker.index].store(sum, Ordering::Relaxed);
                        worker.meet();
                    }
                });
                assert!(
                    sums.iter()
                        .all(|sum| sum.load(Ordering::Relaxed) == 97 * 21)
                );
            }
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_lives_on() {
        let mut team = Team::new(3).unwrap();
        let caught = catch_unwind(AssertUnwindSafe(|| {
            team.run(&|worker| {
                assert_ne!(worker.index, 1, "on purpose");
                worker.meet();
            });
        }));
        assert!(caught.is_err());
        let seen = AtomicUsize::new(0);
        team.run(&|worker| {
            worker.meet();
            seen.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(seen.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn shares_cover_everything_once() {
        let barrier = Barrier::default();
        for (n, grain, count) in [(0, 1, 2), (1, 2, 2), (7, 2, 3), (60, 2, 2), (61, 4, 5)] {
            let parts = (0..count).flat_map(|index| {
                Worker {
                    index,
                    count,
                    barrier: &barrier,
                }
                .share(n, grain)
            });
            assert_eq!(parts.collect::<Vec<_>>(), (0..n).collect::<Vec<_>>());
        }
    }
}
