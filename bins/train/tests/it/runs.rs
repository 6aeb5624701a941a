//! Runs that succeed, and what they leave behind.

use lora::Adapter;
use serde_json::Value;

use crate::support::{fixture, folder, log, manifest, train, weights};

#[test]
fn a_run_leaves_adapter_log_and_manifest() {
    let (_dir, out) = folder();
    let eval = fixture("dolly-mini-curated.csv");
    let mut command = train(&out, "3");
    command.arg("--eval_csv").arg(eval).args([
        "--eval_steps",
        "2",
        "--max_seq_len",
        "4096",
        "--lora_r",
        "4",
        "--json",
    ]);
    let done = command.assert().success();
    let summary: Value = serde_json::from_slice(&done.get_output().stdout).unwrap();
    assert_eq!(
        (summary["steps"].as_u64(), summary["complete"].as_bool()),
        (Some(3), Some(true))
    );

    let adapter = Adapter::load(&out).unwrap();
    assert_eq!(adapter.config().r, 4);
    assert_eq!(
        adapter.config().target_modules.to_string(),
        "q_proj,k_proj,v_proj,o_proj"
    );
    assert!(
        adapter
            .config()
            .base_model_name_or_path
            .as_deref()
            .unwrap()
            .ends_with("tiny-model")
    );

    let (evals, steps): (Vec<_>, Vec<_>) = log(&out)
        .into_iter()
        .partition(|line| line.get("eval_loss").is_some());
    let numbers: Vec<_> = steps
        .iter()
        .map(|line| line["step"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [1, 2, 3]);
    for name in [
        "loss",
        "grad_norm",
        "lr",
        "supervised_tokens",
        "tokens",
        "tokens_per_s",
        "gflops",
    ] {
        assert!(steps.iter().all(|line| line[name].is_number()), "{name}");
    }
    assert_eq!(steps[0]["lr"], 0.0, "the first step of a warm-up");
    let at: Vec<_> = evals
        .iter()
        .map(|line| line["step"].as_u64().unwrap())
        .collect();
    assert_eq!(at, [2, 3]);

    let record = stage::Manifest::read(&out.join("manifest.json")).unwrap();
    assert!(record.outputs_intact(&out) && record.outputs.len() == 3);
    assert_eq!(manifest(&out)["facts"]["complete"], true);
}

#[test]
fn the_same_run_gives_the_same_bytes_whatever_the_threads() {
    let run = |threads: &str| {
        let (_dir, out) = folder();
        train(&out, "3")
            .env("RAYON_NUM_THREADS", threads)
            .assert()
            .success();
        weights(&out)
    };
    let one = run("1");
    assert_eq!(one, run("1"));
    assert_eq!(one, run("2"));
}

#[test]
fn a_second_run_replaces_the_first() {
    let (_dir, out) = folder();
    train(&out, "3").assert().success();
    train(&out, "2").assert().success();
    assert_eq!(log(&out).len(), 2);
    assert_eq!(manifest(&out)["facts"]["steps"], 2);
}

#[test]
fn the_originals_names_are_accepted_in_snake_and_kebab_case() {
    for snake in [true, false] {
        let (_dir, out) = folder();
        let name = |name: &str| {
            if snake {
                format!("--{name}")
            } else {
                format!("--{}", name.replace('_', "-"))
            }
        };
        let mut command = assert_cmd::Command::cargo_bin("train").unwrap();
        command.arg(name("base_model")).arg(fixture("tiny-model"));
        command
            .arg(name("train_csv"))
            .arg(fixture("dolly-mini.jsonl"));
        command
            .arg(name("output_dir"))
            .arg(&out)
            .current_dir(out.parent().unwrap());
        for (flag, value) in [
            ("max_seq_len", "512"),
            ("epochs", "0.01"),
            ("lr", "1e-4"),
            ("bs", "2"),
            ("ga", "2"),
            ("eval_steps", "10"),
            ("logging_steps", "1"),
            ("lora_r", "2"),
            ("lora_alpha", "4"),
            ("lora_dropout", "0.1"),
        ] {
            command.arg(name(flag)).arg(value);
        }
        command.assert().success();
        assert!(!log(&out).is_empty());
    }
}

#[test]
fn an_initial_adapter_is_gone_on_from_and_must_agree() {
    let (_dir, first) = folder();
    train(&first, "2")
        .args(["--warmup-ratio", "0"])
        .assert()
        .success();
    let (_dir, second) = folder();
    let from_first = |steps| {
        let mut command = train(&second, steps);
        command.arg("--init-adapter").arg(&first);
        command
    };
    // The only step has rate 0, so what comes out is what went in.
    from_first("1").assert().success();
    assert_eq!(weights(&first), weights(&second));
    for (flag, value, found) in [
        ("--lora_alpha", "8", "32"),
        ("--target-modules", "q_proj", "q_proj,k_proj,v_proj,o_proj"),
    ] {
        let failed = from_first("1").args([flag, value]).assert().code(2);
        let message = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
        assert!(
            message.contains(flag) && message.contains(found),
            "{message}"
        );
    }
    from_first("1").arg("--rslora").assert().code(2);
}

#[test]
fn an_adapter_folder_as_the_model_is_gone_on_from() {
    let (_dir, first) = folder();
    train(&first, "2")
        .args(["--warmup-ratio", "0"])
        .assert()
        .success();
    // The revision that it was trained beside is that of the base that it names.
    let mut pinned = Adapter::load(&first).unwrap();
    let base = pinned.config().base_model_name_or_path.clone();
    pinned.set_base_model(base, Some("pinned".into()));
    pinned.save(&first).unwrap();
    let (_dir, second) = folder();
    let mut command = assert_cmd::Command::cargo_bin("train").unwrap();
    command.current_dir(second.parent().unwrap());
    command
        .arg("--model_name")
        .arg(&first)
        .arg("--output_dir")
        .arg(&second);
    command
        .arg("--train_csv")
        .arg(fixture("dolly-mini.csv"))
        .args(["--max-steps", "1"]);
    command.assert().success();
    assert_eq!(weights(&first), weights(&second));
    let revision = Adapter::load(&second).unwrap().config().revision.clone();
    assert_eq!(revision.as_deref(), Some("pinned"));
}

#[test]
fn rows_that_are_too_long_are_counted() {
    let (_dir, out) = folder();
    let done = train(&out, "1")
        .args(["--max_seq_len", "100", "--json"])
        .assert()
        .success();
    let summary: Value = serde_json::from_slice(&done.get_output().stdout).unwrap();
    let rows = &summary["train_rows"];
    let count = |name: &str| rows[name].as_u64().unwrap();
    assert!(count("too_long") > 0 && count("shortened") > 0, "{rows}");
    assert_eq!(
        count("read"),
        count("blank") + count("too_long") + count("used")
    );
    let text = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
    assert!(text.contains("too long, left out"), "{text}");
}

#[test]
fn compat_original_trains_on_everything_but_the_end_of_turn() {
    let (_dir, out) = folder();
    let both = |extra: &[&str]| {
        train(&out, "1")
            .args(["--no-shuffle", "--json"])
            .args(extra)
            .assert()
            .success();
        let line = &log(&out)[0];
        let number = |name: &str| line[name].as_u64().unwrap();
        (number("supervised_tokens"), number("tokens"))
    };
    let (ours, tokens) = both(&[]);
    let (theirs, their_tokens) = both(&["--compat", "original"]);
    assert!(ours < tokens / 2 + tokens / 4 && theirs > ours && theirs < their_tokens);
}

#[test]
fn rslora_bf16_and_all_linear_work_together() {
    let (_dir, out) = folder();
    let extra = [
        "--rslora",
        "--dtype",
        "bf16",
        "--target-modules",
        "all-linear",
    ];
    train(&out, "2").args(extra).assert().success();
    let adapter = Adapter::load(&out).unwrap();
    assert!(adapter.config().use_rslora);
    assert_eq!(adapter.pairs().count(), 14);
}

#[test]
fn dora_is_a_flag_and_goes_on_from_a_checkpoint() {
    let dora = [
        "--use-dora",
        "--target-modules",
        "all-linear",
        "--dtype",
        "bf16",
    ];
    let (_dir, whole) = folder();
    train(&whole, "4").args(dora).assert().success();
    let adapter = Adapter::load(&whole).unwrap();
    assert!(adapter.config().use_dora);
    assert_eq!(adapter.tensors().len(), 14 * 3);
    assert_eq!(manifest(&whole)["arguments"]["use_dora"], true);
    // The engine that is the reference, from the same start.
    let (_dir, reference) = folder();
    let autograd = ["--engine", "autograd"];
    train(&reference, "4")
        .args(dora)
        .args(autograd)
        .assert()
        .success();
    let loss = |out: &std::path::Path| log(out)[3]["loss"].as_f64().unwrap();
    assert!((loss(&whole) / loss(&reference) - 1.0).abs() < 2e-3);
    // A plain adapter has no magnitudes to go on from.
    let (_dir, plain) = folder();
    train(&plain, "1").assert().success();
    let (_dir, next) = folder();
    let failed = train(&next, "1")
        .arg("--use-dora")
        .arg("--init-adapter")
        .arg(&plain)
        .assert()
        .code(2);
    let text = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
    assert!(text.contains("--use-dora"), "{text}");
    // Without the flag, what the adapter is counts.
    train(&next, "1")
        .arg("--init-adapter")
        .arg(&whole)
        .assert()
        .success();
    assert_eq!(weights(&next), weights(&whole));
}

#[test]
fn a_run_whose_rates_are_all_zero_says_so() {
    let (_dir, out) = folder();
    let done = train(&out, "1").assert().success();
    let text = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
    assert!(text.contains("--warmup-ratio 0"), "{text}");
}

#[test]
fn variants_of_lora_are_flags() {
    let (_dir, out) = folder();
    let extra = [
        "--target-modules",
        r".*\.(q|v|up)_proj",
        "--exclude-modules",
        "layers.0.mlp.up_proj",
        "--rank-pattern",
        "q_proj=2",
        "--alpha-pattern",
        "up_proj=3.5",
        "--loraplus-lr-ratio",
        "8",
        "--lr-schedule",
        "warmup_stable_decay",
        "--warmup-steps",
        "1",
        "--decay-steps",
        "2",
    ];
    train(&out, "4").args(extra).assert().success();
    let adapter = Adapter::load(&out).unwrap();
    assert_eq!(adapter.pairs().count(), 5);
    let ranks: Vec<_> = adapter.pairs().map(|(_, p)| p.a.dims()[0]).collect();
    assert_eq!(ranks, [2, 16, 2, 16, 16]);
    let rates: Vec<_> = log(&out)
        .iter()
        .map(|l| l["lr"].as_f64().unwrap())
        .collect();
    assert_eq!(rates[..3], [0.0, 2e-4, 2e-4]);
    assert!((rates[3] - 1e-4).abs() < 1e-12);
    let arguments = &manifest(&out)["arguments"];
    assert_eq!(arguments["rank_pattern"]["q_proj"], 2);
    let (_dir, layers) = folder();
    let one = [
        "--layers-to-transform",
        "1",
        "--target-modules",
        "all-linear",
    ];
    train(&layers, "1").args(one).assert().success();
    assert_eq!(Adapter::load(&layers).unwrap().pairs().count(), 7);
}

#[test]
fn help_shows_examples() {
    let mut command = assert_cmd::Command::cargo_bin("train").unwrap();
    let help = command.arg("--help").assert().success();
    let text = String::from_utf8_lossy(&help.get_output().stdout).into_owned();
    for word in ["Examples:", "--resume", "--load-best-model-at-end"] {
        assert!(text.contains(word), "{word}");
    }
}
