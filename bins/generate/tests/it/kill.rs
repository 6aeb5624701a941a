//! A run that is killed at any moment goes on where it was, and ends with the same bytes.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::fixture;

const ROWS: usize = 60;

/// A job on the program itself.
struct Work<'a> {
    model: &'a str,
    max_new_tokens: usize,
}

impl Work<'_> {
    fn start(&self, out: &Path) -> Child {
        let (rows, tokens) = (ROWS.to_string(), self.max_new_tokens.to_string());
        Command::new(env!("CARGO_BIN_EXE_generate"))
            .args(["--model_name", self.model, "--out_file"])
            .arg(out)
            .args(["--test_csv", &fixture("dolly-mini.jsonl"), "--limit", &rows])
            .args(["--max_new_tokens", &tokens, "--batch_size", "8"])
            .args(["--temperature", "0.7", "--seed", "5", "--threads", "1"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn finish(&self, out: &Path) {
        let done = self.start(out).wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{said}");
    }

    /// Kills the run once the file has `lines` lines, and a little later; whether it was still running.
    fn kill(&self, out: &Path, lines: usize, later: Duration) -> bool {
        let mut child = self.start(out);
        let patience = Instant::now() + Duration::from_mins(10);
        while count(out) < lines && child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < patience, "no {lines} lines in ten minutes");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(later);
        child.kill().unwrap();
        let ended = child.wait_with_output().unwrap();
        let killed = ended.status.code().is_none();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(killed || ended.status.success(), "{said}");
        killed
    }
}

fn count(out: &Path) -> usize {
    let bytes = std::fs::read(out).unwrap_or_default();
    bytes.split(|byte| *byte == b'\n').count() - 1
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().file_name().into())
        .collect();
    found.sort();
    found
}

/// Kills one job `kills` times, spread over its rows, and resumes it each time.
fn killed_and_resumed(work: &Work<'_>, kills: usize) {
    let (whole, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (whole_out, out) = (whole.path().join("o.jsonl"), broken.path().join("o.jsonl"));
    work.finish(&whole_out);
    let mut hits = 0;
    for kill in 0..kills {
        // The first come before there is a line: while files are looked at, and weights read.
        let lines = kill.saturating_sub(2) * ROWS / kills;
        let later = Duration::from_micros((kill as u64 * 7919) % 13_000);
        hits += usize::from(work.kill(&out, lines, later));
        assert!(count(&out) >= lines.min(ROWS), "answers were lost");
    }
    assert!(
        hits * 2 > kills,
        "only {hits} of {kills} kills found a run to kill"
    );
    work.finish(&out);
    assert_eq!(
        std::fs::read(&out).unwrap(),
        std::fs::read(&whole_out).unwrap()
    );
    assert_eq!(files(broken.path()), files(whole.path()));
}

#[test]
fn a_killed_run_ends_with_the_same_bytes() {
    let work = Work {
        model: &fixture("tiny-model"),
        max_new_tokens: 24,
    };
    killed_and_resumed(&work, 8);
}

#[test]
#[ignore = "minutes: SMOLTUNE_GGUF=FILE cargo test --release -p generate -- --ignored killed"]
fn a_killed_run_of_a_real_model_ends_with_the_same_bytes() {
    let model = std::env::var("SMOLTUNE_GGUF").expect("SMOLTUNE_GGUF names a .gguf file");
    let work = Work {
        model: &model,
        max_new_tokens: 32,
    };
    killed_and_resumed(&work, 20);
}
