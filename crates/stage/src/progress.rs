//! Progress for people: a bar on a terminal, a plain line every few seconds in a log.

use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a log gets a line.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Progress of one piece of work, always on standard error.
///
/// All methods take `&self`, so it can be shared with a callback or another thread.
pub struct Progress {
    what: String,
    view: View,
}

enum View {
    Bar(ProgressBar),
    Lines(Mutex<Lines>),
}

struct Lines {
    total: u64,
    done: u64,
    status: String,
    started: Instant,
    last: Instant,
}

impl Progress {
    /// Starts showing `what`, of which there are `total` pieces. Zero: the number is not known.
    pub fn new(what: &str, total: u64) -> Self {
        Self::with(what, total, "{wide_msg}")
    }

    /// The same; on a terminal, the text beside the count has a line of its own.
    pub fn two_lines(what: &str, total: u64) -> Self {
        Self::with(what, total, "\n{wide_msg}")
    }

    /// Whether somebody sees every change at once: a bar on a terminal.
    pub fn is_live(&self) -> bool {
        matches!(self.view, View::Bar(_))
    }

    fn with(what: &str, total: u64, message: &str) -> Self {
        let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
        let view = if io::stderr().is_terminal() && !dumb {
            View::Bar(bar(what, total, message))
        } else {
            let now = Instant::now();
            let status = String::new();
            View::Lines(Mutex::new(Lines {
                total,
                done: 0,
                status,
                started: now,
                last: now,
            }))
        };
        Self {
            what: what.to_owned(),
            view,
        }
    }

    /// `n` more pieces are done.
    pub fn inc(&self, n: u64) {
        match &self.view {
            View::Bar(bar) => bar.inc(n),
            View::Lines(lines) => {
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                lines.done += n;
                if lines.last.elapsed() >= LINE_EVERY {
                    lines.last = Instant::now();
                    say(&lines.describe(&self.what));
                }
            }
        }
    }

    /// A short text beside the count, such as `loss 1.93, 210 tokens/s`.
    pub fn status(&self, text: impl Into<String>) {
        match &self.view {
            View::Bar(bar) => bar.set_message(text.into()),
            View::Lines(lines) => {
                lines.lock().unwrap_or_else(PoisonError::into_inner).status = text.into();
            }
        }
    }

    /// A line of its own that stays.
    pub fn note(&self, line: impl AsRef<str>) {
        match &self.view {
            View::Bar(bar) => bar.suspend(|| say(line.as_ref())),
            View::Lines(_) => say(line.as_ref()),
        }
    }

    /// Ends it and leaves one line with the total and the time.
    pub fn finish(self) {
        let line = match &self.view {
            View::Bar(bar) => {
                let (done, took) = (bar.position(), bar.elapsed());
                bar.finish_and_clear();
                format!("{}: {done} in {}", self.what, seconds(took))
            }
            View::Lines(lines) => {
                let lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                format!(
                    "{}: {} in {}",
                    self.what,
                    lines.done,
                    seconds(lines.started.elapsed())
                )
            }
        };
        say(&line);
    }
}

impl Lines {
    fn describe(&self, what: &str) -> String {
        let elapsed = self.started.elapsed();
        let of = if self.total > 0 {
            format!("/{}", self.total)
        } else {
            String::new()
        };
        let left = if self.done > 0 && self.total > self.done {
            let left = elapsed.mul_f64((self.total - self.done) as f64 / self.done as f64);
            format!(", about {} left", seconds(left))
        } else {
            String::new()
        };
        let status = if self.status.is_empty() {
            String::new()
        } else {
            format!("  {}", self.status)
        };
        format!(
            "{what}: {}{of} after {}{left}{status}",
            self.done,
            seconds(elapsed)
        )
    }
}

fn bar(what: &str, total: u64, message: &str) -> ProgressBar {
    let (bar, template) = if total == 0 {
        (
            ProgressBar::no_length(),
            "{prefix} {spinner} {pos} [{elapsed}] ",
        )
    } else {
        (
            ProgressBar::new(total),
            "{prefix} {bar:24} {pos}/{len} [{elapsed} < {eta}] ",
        )
    };
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(8));
    if let Ok(style) = ProgressStyle::with_template(&format!("{template}{message}")) {
        bar.set_style(style);
    }
    bar.set_prefix(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

/// `4.2 s`, `75 s`, `3 min 20 s`.
fn seconds(time: Duration) -> String {
    let s = time.as_secs_f64();
    if s < 10.0 {
        format!("{s:.1} s")
    } else if s < 100.0 {
        format!("{s:.0} s")
    } else {
        let whole = s.round() as u64;
        format!("{} min {} s", whole / 60, whole % 60)
    }
}

/// One line on standard error. A closed standard error is no reason to stop (or to panic).
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_naturally() {
        assert_eq!(seconds(Duration::from_millis(4210)), "4.2 s");
        assert_eq!(seconds(Duration::from_secs(75)), "75 s");
        assert_eq!(seconds(Duration::from_secs(200)), "3 min 20 s");
    }

    #[test]
    fn a_line_says_how_far_and_what() {
        let now = Instant::now();
        let lines = Lines {
            total: 10,
            done: 10,
            status: "loss 2".into(),
            started: now,
            last: now,
        };
        let line = lines.describe("training");
        assert!(line.starts_with("training: 10/10 after 0.0 s"), "{line}");
        assert!(line.ends_with("  loss 2"), "{line}");
    }
}
