//! Ctrl-C in the middle.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{child, fixture, folder, log, manifest, weights};

#[test]
fn ctrl_c_is_heard_between_two_decompositions_and_leaves_no_adapter() {
    let (_dir, out) = folder();
    // So many steps that a weight takes a second or more and the eight of them several.
    let mut command = child(&out, "2");
    command.args(["--init-lora-weights", "pissa_niter_30000", "--lora-r", "4"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
    let begun = told.any(|line| line.unwrap().contains("decomposing 8 weights"));
    assert!(begun);
    let pid = child.id().to_string();
    Command::new("kill").args(["-INT", &pid]).status().unwrap();
    let rest: Vec<String> = told.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    let rest = rest.join("\n");
    assert!(rest.contains("the same command begins again"), "{rest}");
    assert!(!rest.contains("weights decomposed: 8"), "{rest}");
    assert_eq!(manifest(&out)["facts"]["complete"], false);
    for name in [lora::CONFIG_FILE, lora::WEIGHTS_FILE, "train_log.jsonl"] {
        assert!(!out.join(name).exists(), "{name}");
    }
    // The folder is no hindrance.
    let again = |out: &Path| {
        let mut command = crate::support::train(out, "2");
        command.args(["--init-lora-weights", "pissa"]);
        command.assert().success();
        weights(out)
    };
    let (_dir, other) = folder();
    assert_eq!(again(&out), again(&other));
}

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
