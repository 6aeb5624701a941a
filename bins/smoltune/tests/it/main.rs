//! The program as its users see it: files, standard output, exit codes. On the tiny model.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod bad_input;
mod configuration;
mod damage;
mod interrupted;
mod original;
mod pipeline;
mod surface;
mod sweep;

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

/// A folder for one test, with the program started inside it.
struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The program with a command line split at white space; `{fixtures}` stands for that folder.
    fn run(&self, line: &str) -> assert_cmd::assert::Assert {
        self.command(line).assert()
    }

    fn command(&self, line: &str) -> Command {
        let fixtures = fixtures();
        let mut command = Command::cargo_bin("smoltune").unwrap();
        command
            .current_dir(self.dir.path())
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("HF_HOME", self.path("hub"))
            .env("HF_HUB_OFFLINE", "1")
            .args(
                line.split_whitespace()
                    .map(|word| word.replace("{fixtures}", fixtures.to_str().unwrap())),
            );
        command
    }

    /// Runs it, expects `code`, and returns standard error.
    fn fails(&self, line: &str, code: i32) -> String {
        let done = self.run(line);
        let output = done.get_output();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{line}\n{stderr}");
        assert!(stderr.contains("error: "), "{line}\n{stderr}");
        assert!(!stderr.contains("panicked"), "{line}\n{stderr}");
        stderr
    }

    /// Runs it, expects success, and returns standard output.
    fn succeeds(&self, line: &str) -> String {
        let done = self.run(line).success();
        String::from_utf8(done.get_output().stdout.clone()).unwrap()
    }

    /// Runs it with `--json` and returns the one object on standard output.
    fn json(&self, line: &str) -> Value {
        let text = self.succeeds(&format!("{line} --json"));
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|e| {
            panic!("{line}: standard output is not one JSON value: {e}\n{text}")
        });
        assert!(value.is_object(), "{line}: {text}");
        value
    }

    /// Copies a folder of the fixtures.
    fn copy(&self, name: &str) -> PathBuf {
        let to = self.path(Path::new(name).file_name().unwrap().to_str().unwrap());
        std::fs::create_dir_all(&to).unwrap();
        for entry in std::fs::read_dir(fixtures().join(name)).unwrap() {
            let from = entry.unwrap().path();
            std::fs::copy(&from, to.join(from.file_name().unwrap())).unwrap();
        }
        to
    }

    /// Files below a folder whose names have `part` in them.
    fn files_named(&self, folder: &str, part: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.path(folder)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.file_name().unwrap().to_str().unwrap().contains(part) {
                    found.push(path);
                }
            }
        }
        found
    }

    fn lines(&self, name: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path(name)).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures")
        .canonicalize()
        .unwrap()
}
