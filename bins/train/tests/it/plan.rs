//! `--dry-run`, `--memory-limit`, `--checkpointing auto`.

use serde_json::Value;

use crate::support::{fixture, folder, log, manifest, train, weights};

/// The plan of three steps, evaluated twice.
fn plan(extra: &[&str]) -> Value {
    let (_dir, out) = folder();
    let done = train(&out, "3")
        .arg("--eval_csv")
        .arg(fixture("dolly-mini-curated.csv"))
        .args(["--max_seq_len", "200", "--eval_steps", "2"])
        .args(["--dry-run", "--json"])
        .args(extra)
        .assert()
        .success();
    assert!(!out.exists(), "a plan leaves nothing");
    serde_json::from_slice(&done.get_output().stdout).unwrap()
}

#[test]
fn the_plan_counts_what_the_run_then_does() {
    let plan = plan(&["--no-probe"]);
    let number = |name: &str| plan[name].as_u64().unwrap();
    assert!(plan["seconds"].is_null());
    let (_dir, out) = folder();
    train(&out, "3")
        .arg("--eval_csv")
        .arg(fixture("dolly-mini-curated.csv"))
        .args(["--max_seq_len", "200", "--eval_steps", "2"])
        .assert()
        .success();
    let lines = log(&out);
    let sum = |name: &str| -> u64 { lines.iter().filter_map(|line| line[name].as_u64()).sum() };
    assert_eq!(number("steps"), 3);
    assert_eq!(number("tokens"), sum("tokens"));
    assert_eq!(number("supervised_tokens"), sum("supervised_tokens"));
    let evaluations = lines.iter().filter(|line| line["eval_loss"].is_number());
    assert_eq!(number("evaluations"), evaluations.count() as u64);
    assert_eq!(number("micro_batches"), 6);
}

#[test]
fn a_batch_is_measured_for_the_time() {
    let plan = plan(&[]);
    let number = |name: &str| plan[name].as_f64().unwrap();
    assert!(number("seconds") > 0.0);
    let expected = number("flops") / number("flops_per_s");
    assert!((number("seconds") / expected - 1.0).abs() < 1e-9);
}

#[test]
fn what_does_not_fit_is_refused_with_what_would() {
    let memory = |checkpointing: &str| {
        let plan = plan(&["--no-probe", "--bs", "8", "--checkpointing", checkpointing]);
        plan["memory"]["total"].as_u64().unwrap()
    };
    let (none, block) = (memory("none"), memory("block"));
    assert!(block < none, "{block} {none}");
    let limit = u64::midpoint(none, block).to_string();
    let (_dir, out) = folder();
    let refused = |extra: &[&str]| {
        let mut command = train(&out, "3");
        command
            .arg("--eval_csv")
            .arg(fixture("dolly-mini-curated.csv"));
        command.args(["--max_seq_len", "200", "--bs", "8"]);
        let failed = command.args(extra).assert().code(2);
        assert!(!out.exists());
        String::from_utf8_lossy(&failed.get_output().stderr).into_owned()
    };
    for dry in [
        &["--memory-limit", &limit][..],
        &["--memory-limit", &limit, "--dry-run"],
    ] {
        let message = refused(dry);
        assert!(message.contains("--checkpointing block needs"), "{message}");
    }
    let message = refused(&["--memory-limit", "1MB"]);
    assert!(message.contains("not even short rows fit"), "{message}");
    let message = refused(&["--memory-limit", "much"]);
    assert!(message.contains("6GB"), "{message}");
    let message = refused(&["--memory-limit", "1GB", "--engine", "autograd"]);
    assert!(message.contains("--engine packed"), "{message}");
}

#[test]
fn auto_keeps_blocks_where_that_is_what_fits() {
    let limit = |auto: &Value| auto["memory"]["total_with_checkpointing"].to_string();
    let flags = ["--no-probe", "--bs", "8", "--checkpointing", "auto"];
    let free = plan(&flags);
    assert_eq!(free["checkpointing"], "none");
    let limit = limit(&free);
    let tight = plan(&[&flags[..], &["--memory-limit", &limit]].concat());
    assert_eq!(tight["checkpointing"], "block");
    assert_eq!(tight["memory"]["total"].to_string(), limit);
    // The same bytes come out.
    let bytes = |extra: &[&str]| {
        let (_dir, out) = folder();
        train(&out, "2")
            .args(["--bs", "8", "--max_seq_len", "200"])
            .args(extra)
            .assert()
            .success();
        assert_eq!(manifest(&out)["facts"]["complete"], true);
        weights(&out)
    };
    let tight = ["--checkpointing", "auto", "--memory-limit", &limit];
    assert_eq!(bytes(&tight), bytes(&[]));
}

#[test]
fn what_the_optimiser_remembers_is_in_the_plan() {
    let memory = |extra: &[&str]| {
        let plan = plan(&[&["--no-probe"], extra].concat());
        let memory = &plan["memory"];
        let [adapter, total] = ["adapter", "total"].map(|name| memory[name].as_u64().unwrap());
        (adapter, total)
    };
    let (_dir, out) = folder();
    train(&out, "1").assert().success();
    let numbers = weights_of(&out);
    let (adamw, whole) = memory(&[]);
    for (flags, less) in [
        ("--optim sgd", 8 * numbers),
        ("--optim sgd --momentum 0.9", 4 * numbers),
        ("--optim lion", 4 * numbers),
        ("--optim muon", 4 * numbers),
    ] {
        let words: Vec<&str> = flags.split(' ').collect();
        let (adapter, total) = memory(&words);
        assert_eq!((adamw - adapter, whole - total), (less, less), "{flags}");
    }
    assert!(memory(&["--optim", "adafactor"]).0 < memory(&["--optim", "lion"]).0);
    assert_eq!(memory(&["--ema-decay", "0.9"]).0, adamw + 4 * numbers);
}

/// How many numbers an adapter holds.
fn weights_of(out: &std::path::Path) -> u64 {
    lora::Adapter::load(out).unwrap().parameters() as u64
}
