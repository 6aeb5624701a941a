//! Counters for Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper ends of the buckets of the time to the first token, in milliseconds.
const FIRST_TOKEN_MS: &[u64] = &[
    5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000,
];
/// The same of the time from one token to the next.
const NEXT_TOKEN_MS: &[u64] = &[1, 2, 5, 10, 25, 50, 75, 100, 150, 250, 500, 1000, 2500];

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: usize) {
        self.0.fetch_add(n as u64, Relaxed);
    }
}

/// How often a time lay in which bucket.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds_ms: &'static [u64],
    /// One a bound, and one for what lies above all.
    counts: Vec<AtomicU64>,
    sum_us: AtomicU64,
}

impl Histogram {
    fn new(bounds_ms: &'static [u64]) -> Self {
        Self {
            bounds_ms,
            counts: (0..=bounds_ms.len()).map(|_| AtomicU64::new(0)).collect(),
            sum_us: AtomicU64::new(0),
        }
    }

    pub(crate) fn observe(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = self.bounds_ms.partition_point(|ms| ms * 1000 < us);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Relaxed);
        }
        self.sum_us.fetch_add(us, Relaxed);
    }

    fn write(&self, out: &mut String, name: &str, help: &str) {
        head(out, name, "histogram", help);
        let mut below = 0;
        let bounds = self
            .bounds_ms
            .iter()
            .map(|ms| (*ms as f64 / 1e3).to_string());
        for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(&self.counts) {
            below += count.load(Relaxed);
            line(out, &format!("{name}_bucket{{le=\"{bound}\"}}"), below);
        }
        line(
            out,
            &format!("{name}_sum"),
            self.sum_us.load(Relaxed) as f64 / 1e6,
        );
        line(out, &format!("{name}_count"), below);
    }
}

/// Everything that is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// Requests by route and status code.
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    /// Answers by how they ended.
    answers: Mutex<BTreeMap<&'static str, u64>>,
    running: AtomicU64,
    waiting: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) prompt_tokens: Counter,
    pub(crate) generated_tokens: Counter,
    pub(crate) first_token: Histogram,
    pub(crate) next_token: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Mutex::default(),
            answers: Mutex::default(),
            running: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            prompt_tokens: Counter::default(),
            generated_tokens: Counter::default(),
            first_token: Histogram::new(FIRST_TOKEN_MS),
            next_token: Histogram::new(NEXT_TOKEN_MS),
        }
    }
}

impl Metrics {
    /// Answers that the engine works on, and that wait for it.
    pub(crate) fn load(&self, running: usize, waiting: usize) {
        self.running.store(running as u64, Relaxed);
        self.waiting.store(waiting as u64, Relaxed);
    }

    pub(crate) fn request(&self, route: &'static str, code: u16) {
        count(&self.requests, (route, code));
    }

    pub(crate) fn answer(&self, ended: &'static str) {
        count(&self.answers, ended);
    }

    /// All of it in Prometheus' text format 0.0.4.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let name = "smoltune_requests_total";
        head(
            &mut out,
            name,
            "counter",
            "HTTP requests by route and status code.",
        );
        for ((route, code), n) in &*lock(&self.requests) {
            line(
                &mut out,
                &format!("{name}{{route=\"{route}\",code=\"{code}\"}}"),
                n,
            );
        }
        let name = "smoltune_answers_total";
        head(&mut out, name, "counter", "Answers by how they ended.");
        for (ended, n) in &*lock(&self.answers) {
            line(&mut out, &format!("{name}{{ended=\"{ended}\"}}"), n);
        }
        for (name, help, value) in [
            (
                "smoltune_answers_running",
                "Answers being generated.",
                &self.running,
            ),
            (
                "smoltune_answers_waiting",
                "Answers that wait for a slot.",
                &self.waiting,
            ),
            (
                "smoltune_connections",
                "Open connections.",
                &self.connections,
            ),
        ] {
            head(&mut out, name, "gauge", help);
            line(&mut out, name, value.load(Relaxed));
        }
        for (name, help, counter) in [
            (
                "smoltune_prompt_tokens_total",
                "Tokens of prompts taken.",
                &self.prompt_tokens,
            ),
            (
                "smoltune_generated_tokens_total",
                "Tokens generated.",
                &self.generated_tokens,
            ),
        ] {
            head(&mut out, name, "counter", help);
            line(&mut out, name, counter.0.load(Relaxed));
        }
        self.first_token.write(
            &mut out,
            "smoltune_time_to_first_token_seconds",
            "From a request's admission to its first token.",
        );
        self.next_token.write(
            &mut out,
            "smoltune_time_per_token_seconds",
            "From one token of an answer to the next.",
        );
        out
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count<K: Ord>(counts: &Mutex<BTreeMap<K, u64>>, key: K) {
    *lock(counts).entry(key).or_default() += 1;
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(out: &mut String, name: &str, value: impl std::fmt::Display) {
    let _ = writeln!(out, "{name} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_add_up() {
        let metrics = Metrics::default();
        for ms in [5, 6, 90_000] {
            metrics.first_token.observe(Duration::from_millis(ms));
        }
        metrics.request("chat", 200);
        metrics.request("chat", 200);
        let text = metrics.text();
        for line in [
            "smoltune_requests_total{route=\"chat\",code=\"200\"} 2",
            "smoltune_time_to_first_token_seconds_bucket{le=\"0.005\"} 1",
            "smoltune_time_to_first_token_seconds_bucket{le=\"0.01\"} 2",
            "smoltune_time_to_first_token_seconds_bucket{le=\"60\"} 2",
            "smoltune_time_to_first_token_seconds_bucket{le=\"+Inf\"} 3",
            "smoltune_time_to_first_token_seconds_sum 90.011",
            "smoltune_time_to_first_token_seconds_count 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
