//! The program as its users see it: through a pipe, and through a pseudo-terminal. On the tiny model.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod pipe;
#[cfg(unix)]
mod terminal;

use std::path::{Path, PathBuf};
use std::process::Command;

use lora::{Adapter, LoraConfig};
use smollm_model::{Checkpoint, ModelFiles};

fn fixture(name: &str) -> PathBuf {
    format!("{}/../../fixtures/{name}", env!("CARGO_MANIFEST_DIR")).into()
}

/// The program on the tiny model, greedy, with answers long enough to tell adapters apart.
fn chat(dir: &Path) -> Command {
    chat_at_length(dir, "40")
}

/// The same with answers of at most `tokens`. One thread: the machine may have other things to do.
fn chat_at_length(dir: &Path, tokens: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chat"));
    command
        .current_dir(dir)
        .arg("--model_name")
        .arg(fixture("tiny-model"))
        .args([
            "--temperature",
            "0",
            "--threads",
            "1",
            "--max_new_tokens",
            tokens,
        ]);
    command
}

/// Writes an adapter that changes what the tiny model says, after some twenty tokens.
fn adapter(dir: &Path) {
    let mut adapter = Adapter::load(fixture("goldens/lora_step")).unwrap();
    adapter.set_base_model(None, None);
    adapter.save(dir).unwrap();
}

/// Writes an adapter that changes nothing.
fn new_adapter(dir: &Path) {
    let files = ModelFiles::Dir(fixture("tiny-model"));
    let config = Checkpoint::open(&files).unwrap().config().clone();
    let adapter = Adapter::init(&config, LoraConfig::default(), 1).unwrap();
    adapter.save(dir).unwrap();
}
