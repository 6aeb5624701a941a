//! Ended in the middle of its training, a `run` goes on from the checkpoint and ends with the same bytes.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Bench, fixtures};

const CONFIG: &str = r#"
out = "done"
[data]
test = 4
train = 16
val = 4
[generate]
max_new_tokens = 6
[train]
max_steps = 60
accumulation = 4
lora_r = 4
lr = 1e-3
eval_steps = 7
save_steps = 3
save_total_limit = 2
load_best_model_at_end = true
"#;

const LINE: &str = "run --config smoltune.toml --model_name {fixtures}/tiny-model \
    --source {fixtures}/dolly-mini.jsonl";

/// Starts the program, to be ended from outside.
fn start(bench: &Bench, line: &str) -> Child {
    let words = line
        .split_whitespace()
        .map(|word| word.replace("{fixtures}", fixtures().to_str().unwrap()));
    Command::new(assert_cmd::cargo::cargo_bin("smoltune"))
        .current_dir(bench.dir.path())
        .env("HF_HUB_OFFLINE", "1")
        .args(words)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn has_checkpoint(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names = entries.map(|entry| entry.file_name().display().to_string());
    names.any(|name| name.starts_with("checkpoint-"))
}

fn wait_for_a_checkpoint(folder: &Path, child: &mut Child) {
    let started = Instant::now();
    while !has_checkpoint(folder) {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        assert!(started.elapsed() < Duration::from_mins(2), "no checkpoint");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What came out, by file.
fn left(bench: &Bench) -> Vec<Vec<u8>> {
    let files = [
        "adapter/adapter_model.safetensors",
        "adapter/adapter_config.json",
        "tuned/predictions.jsonl",
        "comparison.json",
    ];
    let read = |name: &&str| std::fs::read(bench.path("done").join(name)).unwrap();
    files.iter().map(read).collect()
}

fn goes_on(end: impl Fn(&mut Child) -> Option<i32>) {
    let whole = Bench::new();
    whole.write("smoltune.toml", CONFIG);
    whole.succeeds(LINE);

    let bench = Bench::new();
    bench.write("smoltune.toml", CONFIG);
    let mut child = start(&bench, LINE);
    wait_for_a_checkpoint(&bench.path("done/adapter"), &mut child);
    let code = end(&mut child);
    assert_eq!(child.wait().unwrap().code(), code);
    assert!(!bench.path("done/comparison.json").exists());

    let again = bench.run(LINE).success();
    let stderr = String::from_utf8_lossy(&again.get_output().stderr).into_owned();
    assert!(stderr.contains("going on after step"), "{stderr}");
    assert_eq!(stderr.matches(", skipped").count(), 2, "{stderr}");
    assert_eq!(left(&bench), left(&whole));
}

#[test]
fn after_a_kill() {
    goes_on(|child| {
        child.kill().unwrap();
        None
    });
}

#[test]
fn after_ctrl_c() {
    goes_on(|child| {
        let pid = child.id().to_string();
        Command::new("kill").args(["-INT", &pid]).status().unwrap();
        Some(130)
    });
}
