//! Ctrl-C in the middle.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{fixture, folder, log, manifest};

#[test]
fn ctrl_c_keeps_what_was_learnt_and_marks_it_incomplete() {
    let (dir, out) = folder();
    let mut child = Command::new(assert_cmd::cargo::cargo_bin("train"))
        .current_dir(dir.path())
        .arg("--model_name")
        .arg(fixture("tiny-model"))
        .arg("--train_csv")
        .arg(fixture("dolly-mini.csv"))
        .arg("--output_dir")
        .arg(&out)
        .args(["--ga", "2", "--max-steps", "100000"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    let steps = || std::fs::read_to_string(out.join("train_log.jsonl")).unwrap_or_default();
    while steps().lines().count() < 3 && started.elapsed() < Duration::from_mins(1) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(
        manifest(&out)["facts"]["complete"],
        false,
        "marked from the start"
    );
    let pid = child.id().to_string();
    Command::new("kill").args(["-INT", &pid]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));

    let facts = &manifest(&out)["facts"];
    assert_eq!(facts["complete"], false);
    assert_eq!(facts["steps"].as_u64().unwrap() as usize, log(&out).len());
    lora::Adapter::load(&out).unwrap();
}
