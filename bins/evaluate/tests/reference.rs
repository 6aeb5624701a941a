//! Under `--compat original`, the lines of the original evaluator. Needs `SMOLTUNE_REFERENCE`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::PathBuf;

use assert_cmd::Command;

fn check(name: &str) {
    let folder = std::env::var("SMOLTUNE_REFERENCE")
        .expect("set SMOLTUNE_REFERENCE to the folder that holds golden/");
    let golden = PathBuf::from(folder).join("golden");
    let want = std::fs::read_to_string(golden.join(format!("{name}_eval_plus.txt"))).unwrap();
    Command::new(assert_cmd::cargo_bin!("evaluate"))
        .args(["--compat", "original", "--pred_file"])
        .arg(golden.join(format!("{name}.jsonl")))
        .assert()
        .success()
        .stdout(want);
}

#[test]
fn synthetic_pairs() {
    check("synth300");
}

#[test]
fn greedy_answers() {
    check("baseline_greedy");
}
