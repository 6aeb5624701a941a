//! Ended in the middle, by Ctrl-C or `kill -9`, and gone on from: the end is that of one run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{child, fixture, folder, log, manifest, train, weights};

const STEPS: &str = "40";
/// Dropout, shuffling, a schedule, evaluations, checkpoints: all that has to be met again.
const HOW: [&str; 8] = [
    "--save-steps",
    "3",
    "--eval_steps",
    "4",
    "--save-total-limit",
    "2",
    "--load-best-model-at-end",
    "--resume",
];

fn flags(extra: &[&str]) -> Vec<String> {
    let eval = fixture("dolly-mini-curated.csv").display().to_string();
    let mut all: Vec<String> = HOW.map(String::from).to_vec();
    all.extend([
        "--eval_csv".into(),
        eval,
        "--max_seq_len".into(),
        "200".into(),
    ]);
    all.extend(extra.iter().map(|word| (*word).to_owned()));
    all
}

/// Answers are generated and scored, and the best are kept.
const ANSWERS: [&str; 9] = [
    "--predict-with-generate",
    "--gen-rows",
    "5",
    "--generation-max-length",
    "12",
    "--metric-for-best-model",
    "rougeL",
    "--report-to",
    "tensorboard",
];

/// Starts a run that can be ended.
fn start(out: &Path, extra: &[&str]) -> std::process::Child {
    let mut command = child(out, STEPS);
    command.args(flags(extra)).stdout(Stdio::null());
    command.stderr(Stdio::null()).spawn().unwrap()
}

/// What a run leaves, without what tells of the clock.
fn left(out: &Path) -> (Vec<u8>, Vec<u8>, Vec<Value>, Vec<String>) {
    let mut lines = log(out);
    for line in &mut lines {
        let line = line.as_object_mut().unwrap();
        for rate in ["tokens_per_s", "gflops"] {
            line.remove(rate);
        }
    }
    let names = fs::read_dir(out).unwrap().map(|e| e.unwrap().file_name());
    let mut names: Vec<_> = names.map(|n| n.display().to_string()).collect();
    names.sort();
    let config = fs::read(out.join("adapter_config.json")).unwrap();
    (weights(out), config, lines, names)
}

fn one_run(extra: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let (dir, out) = folder();
    train(&out, STEPS).args(flags(extra)).assert().success();
    (dir, out)
}

fn lines(out: &Path) -> usize {
    let log = fs::read_to_string(out.join("train_log.jsonl"));
    log.unwrap_or_default().lines().count()
}

fn wait_for(mut what: impl FnMut() -> bool) {
    let started = Instant::now();
    while !what() && started.elapsed() < Duration::from_mins(1) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn killed_at_random(kills: usize, extra: &[&str]) {
    let (_dir, whole) = one_run(extra);
    let (_dir, out) = folder();
    // Any moments will do, as long as a failure can be repeated.
    let mut random = 12_345_u64;
    // Only those count that cut a run short; the delays reach from the first line to past the last one.
    let (mut done, mut tries) = (0, 0);
    while done < kills {
        tries += 1;
        assert!(tries <= 20 * kills, "{done} of {tries} runs were cut short");
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let before = lines(&out);
        let mut child = start(&out, extra);
        // Not before it does anything; then at once, or a little later.
        wait_for(|| lines(&out) != before || child_is_over(&mut child));
        std::thread::sleep(Duration::from_millis((random >> 33) % 150));
        let over = child_is_over(&mut child);
        child.kill().unwrap();
        child.wait().unwrap();
        done += usize::from(!over);
        if over {
            // It came to its end: from the beginning again, so that there is something to kill.
            assert_eq!(left(&out), left(&whole));
            fs::remove_dir_all(&out).unwrap();
        }
    }
    train(&out, STEPS).args(flags(extra)).assert().success();
    assert_eq!(left(&out), left(&whole));
}

fn child_is_over(child: &mut std::process::Child) -> bool {
    child.try_wait().unwrap().is_some()
}

#[test]
fn killed_twenty_times_it_ends_with_the_same_bytes() {
    killed_at_random(20, &[]);
}

#[test]
fn killed_while_answers_are_scored_it_ends_with_the_same_bytes() {
    killed_at_random(10, &ANSWERS);
}

#[test]
fn killed_with_another_optimiser_and_an_average_it_ends_with_the_same_bytes() {
    killed_at_random(4, &["--optim", "muon", "--ema-decay", "0.9"]);
}

#[test]
fn ctrl_c_saves_a_checkpoint_and_going_on_ends_with_the_same_bytes() {
    let (_dir, whole) = one_run(&[]);
    for lines_before in [1, 6, 20] {
        let (_dir, out) = folder();
        let mut child = start(&out, &[]);
        wait_for(|| lines(&out) >= lines_before);
        let pid = child.id().to_string();
        Command::new("kill").args(["-INT", &pid]).status().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
        let steps = manifest(&out)["facts"]["steps"].as_u64().unwrap();
        let folder = out.join(format!("checkpoint-{steps}"));
        let saved = lora::Checkpoint::load(&folder).unwrap();
        assert_eq!(saved.progress.steps as u64, steps);
        train(&out, STEPS).args(flags(&[])).assert().success();
        assert_eq!(left(&out).0, left(&whole).0, "after {steps} steps");
        assert_eq!(left(&out).2, left(&whole).2, "after {steps} steps");
    }
}

#[test]
fn half_a_line_of_the_log_is_repaired() {
    let (_dir, out) = one_run(&[]);
    let before = left(&out);
    let path = out.join("train_log.jsonl");
    let mut text = fs::read_to_string(&path).unwrap();
    text.push_str("{\"step\":41,\"lo");
    fs::write(&path, text).unwrap();
    train(&out, STEPS).args(flags(&[])).assert().success();
    assert_eq!(left(&out), before);
}

#[test]
fn other_settings_are_refused_by_name() {
    let (_dir, out) = one_run(&[]);
    let before = weights(&out);
    for (extra, field) in [
        (&["--lr", "1e-3"][..], "`lr`"),
        (&["--seed", "1"], "`seed`"),
        (&["--lora_dropout", "0.3"], "`lora_dropout`"),
        (&["--weight-decay", "0.1"], "`weight_decay`"),
        (&["--optim", "lion"], "`optim`"),
        (&["--adam-beta2", "0.95"], "`adam_beta2`"),
        (&["--ema-decay", "0.9"], "`ema_decay`"),
        (&["--system", "Be brief."], "`system`"),
        (&["--predict-with-generate"], "`predict_with_generate`"),
    ] {
        let failed = train(&out, STEPS).args(flags(extra)).assert().code(2);
        let message = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
        assert!(message.contains(field), "{extra:?}: {message}");
        assert!(message.contains("checkpoint-"), "{message}");
    }
    let other_rows = fixture("dolly-mini-curated.csv");
    let mut command = train(&out, STEPS);
    command
        .args(flags(&[]))
        .args(["--train_csv"])
        .arg(other_rows);
    let failed = command.assert().code(2);
    let message = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
    assert!(
        message.contains("train_rows") || message.contains("cannot be used"),
        "{message}"
    );
    assert_eq!(weights(&out), before);
}

#[test]
fn a_new_run_over_checkpoints_must_be_wanted() {
    let (_dir, out) = folder();
    let new = ["--save-steps", "2"];
    train(&out, "4").args(new).assert().success();
    let failed = train(&out, "4").args(new).assert().code(2);
    let message = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
    assert!(
        message.contains("--resume") && message.contains("checkpoint-4"),
        "{message}"
    );
    let overwrite = ["--overwrite_output_dir", "--seed", "7", "--save-steps", "3"];
    train(&out, "4").args(overwrite).assert().success();
    assert!(out.join("checkpoint-3").exists() && !out.join("checkpoint-4").exists());
    // With --resume it makes way only for another run.
    let both = ["--resume", "--overwrite-output-dir", "--save-steps", "1"];
    train(&out, "4").args(both).assert().success();
    assert!(out.join("checkpoint-1").exists());
    assert_eq!(manifest(&out)["seeds"]["seed"], 42);
}

#[test]
fn a_checkpoint_can_be_named_and_must_be_there() {
    let (_dir, whole) = folder();
    train(&whole, "6")
        .args(["--save-steps", "2"])
        .assert()
        .success();
    let (_dir, out) = folder();
    let from = |place: PathBuf| {
        let mut command = train(&out, "6");
        command.arg("--resume_from_checkpoint").arg(place);
        command
    };
    from(whole.join("checkpoint-2")).assert().success();
    assert_eq!(weights(&out), weights(&whole));
    let failed = from(whole.join("checkpoint-3")).assert().code(3);
    let message = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
    assert!(message.contains("no checkpoint folder"), "{message}");
}

#[test]
fn the_best_adapter_is_kept_and_patience_ends_the_run() {
    let (_dir, out) = folder();
    let hopeless = "--lr 0.5 --lr-schedule constant --max-grad-norm 0 --eval_steps 1 --max_seq_len 200 \
         --save-steps 3 --load-best-model-at-end --early-stopping-patience 2 --json";
    let mut command = train(&out, "400");
    command.args(hopeless.split_whitespace());
    command
        .arg("--eval_csv")
        .arg(fixture("dolly-mini-curated.csv"));
    let done = command.assert().success();
    let summary: Value = serde_json::from_slice(&done.get_output().stdout).unwrap();
    assert_eq!(summary["stopped_early"], true);
    assert_eq!(summary["loaded_best"], true);
    let best = summary["best"]["step"].as_u64().unwrap();
    assert_eq!(summary["steps"].as_u64().unwrap(), best + 2);
    let kept = out.join(format!("checkpoint-{best}"));
    assert_eq!(weights(&kept), weights(&out));
    let evals = log(&out)
        .into_iter()
        .filter(|line| line.get("eval_loss").is_some());
    for line in evals {
        let (loss, perplexity) = (&line["eval_loss"], &line["perplexity"]);
        let expected = loss.as_f64().unwrap().exp();
        assert!((perplexity.as_f64().unwrap() / expected - 1.0).abs() < 1e-12);
    }
}
