//! `--init-lora-weights`, `--neftune-noise-alpha`, `--bias`: what a run leaves, and that it goes on to the same bytes.

use std::fs;
use std::path::Path;

use lora::Adapter;
use serde_json::Value;

use crate::support::{child, fixture, folder, log, manifest, train, weights};

const CHANGING: [&str; 3] = ["pissa", "pissa_niter_4", "olora"];

/// A run with a rank of its own, so that twice of it shows.
fn run(out: &Path, init: &str, extra: &[&str]) -> Value {
    let mut command = train(out, "4");
    command.args([
        "--init-lora-weights",
        init,
        "--lora-r",
        "4",
        "--lora-alpha",
        "8",
    ]);
    command.args(["--lora-dropout", "0", "--warmup-ratio", "0", "--json"]);
    let done = command.args(extra).assert().success();
    serde_json::from_slice(&done.get_output().stdout).unwrap()
}

fn losses(out: &Path) -> Vec<f64> {
    let lines = log(out).into_iter();
    lines.filter_map(|line| line["loss"].as_f64()).collect()
}

/// The loss of the evaluation rows beside the whole base: of the adapter in `out` as it is.
fn evaluated(out: &Path) -> f64 {
    let (_dir, again) = folder();
    let mut command = train(&again, "1");
    command.arg("--init-adapter").arg(out).args(["--lr", "0"]);
    command
        .arg("--eval_csv")
        .arg(fixture("dolly-mini-curated.csv"));
    command.args(["--max_seq_len", "200"]).assert().success();
    let lines = log(&again).into_iter();
    lines
        .filter_map(|line| line["eval_loss"].as_f64())
        .next_back()
        .unwrap()
}

#[test]
fn what_leaves_a_run_is_plain_lora_for_the_whole_base() {
    let eval = fixture("dolly-mini-curated.csv").display().to_string();
    for engine in ["packed", "autograd"] {
        for init in CHANGING {
            let (_dir, out) = folder();
            let extra = [
                "--eval_csv",
                &eval,
                "--eval_steps",
                "2",
                "--max_seq_len",
                "200",
                "--save-steps",
                "2",
                "--engine",
                engine,
            ];
            let summary = run(&out, init, &extra);
            let adapter = Adapter::load(&out).unwrap();
            assert_eq!((adapter.config().r, adapter.config().lora_alpha), (8, 16.0));
            assert_eq!(
                summary["trainable_parameters"].as_u64().unwrap() as usize * 2,
                adapter.parameters()
            );
            // What the run saw beside its residual is what anyone sees beside the whole base.
            let seen = summary["eval_loss"].as_f64().unwrap();
            let plain = evaluated(&out);
            assert!(
                (seen - plain).abs() < 2e-4,
                "{engine}, {init}: {seen} {plain}"
            );
            for step in [2, 4] {
                let kept = Adapter::load(out.join(format!("checkpoint-{step}"))).unwrap();
                assert_eq!(kept.config(), adapter.config());
            }
            assert_eq!(weights(&out.join("checkpoint-4")), weights(&out));
            assert_eq!(manifest(&out)["arguments"]["init_lora_weights"], init);
            assert_eq!(manifest(&out)["arguments"]["lora_r"], 4);
        }
    }
}

#[test]
fn the_first_loss_is_the_bases_and_the_next_ones_are_not_those_of_another_start() {
    let mut ends = Vec::new();
    for init in ["true", "gaussian", "orthogonal", "pissa", "olora"] {
        let (_dir, out) = folder();
        run(&out, init, &[]);
        ends.push(losses(&out));
        let rank = Adapter::load(&out).unwrap().config().r;
        assert_eq!(
            rank,
            if ["pissa", "olora"].contains(&init) {
                8
            } else {
                4
            },
            "{init}"
        );
    }
    for other in &ends[1..] {
        assert!((other[0] - ends[0][0]).abs() < 1e-4, "{ends:?}");
        assert!((other[3] - ends[0][3]).abs() > 1e-4, "{ends:?}");
    }
}

#[test]
fn threads_change_no_byte() {
    for init in ["gaussian", "orthogonal", "pissa", "pissa_niter_4", "olora"] {
        let with = |threads: &str| {
            let (_dir, out) = folder();
            let mut command = train(&out, "3");
            command.args(["--init-lora-weights", init, "--neftune-noise-alpha", "5"]);
            command.env("RAYON_NUM_THREADS", threads).assert().success();
            weights(&out)
        };
        assert_eq!(with("1"), with("2"), "{init}");
    }
}

#[test]
fn a_run_that_is_gone_on_from_any_checkpoint_ends_with_the_same_bytes() {
    for init in CHANGING {
        let noisy = [
            "--neftune-noise-alpha",
            "5",
            "--save-steps",
            "1",
            "--lora-dropout",
            "0.1",
            "--use_rslora",
        ];
        let (_dir, whole) = folder();
        let settings = |out: &Path| {
            let mut command = train(out, "5");
            command.args(["--init-lora-weights", init]).args(noisy);
            command
        };
        settings(&whole).assert().success();
        for step in 1..=4 {
            let (_dir, out) = folder();
            let from = whole.join(format!("checkpoint-{step}"));
            let done = settings(&out)
                .arg("--resume-from-checkpoint")
                .arg(&from)
                .assert()
                .success();
            assert_eq!(weights(&out), weights(&whole), "{init}, from {step}");
            let told = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
            assert!(
                !told.contains("decomposing"),
                "nothing is decomposed again: {told}"
            );
        }
        let failed = train(&whole, "5")
            .args(noisy)
            .args(["--init-lora-weights", "gaussian", "--resume"])
            .assert()
            .code(2);
        let message = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
        assert!(message.contains("`init_lora_weights`"), "{message}");
    }
}

#[test]
fn killed_and_gone_on_from_it_ends_with_the_same_bytes() {
    let flags = "--init-lora-weights pissa --neftune-noise-alpha 5 --save-steps 2 --max_seq_len 200 --resume";
    let start = |out: &Path| {
        let mut command = child(out, "30");
        command.args(flags.split_whitespace());
        command.stdout(std::process::Stdio::null());
        command.stderr(std::process::Stdio::null());
        command.spawn().unwrap()
    };
    let (_dir, whole) = folder();
    assert!(start(&whole).wait().unwrap().success());
    let (_dir, out) = folder();
    let lines = || {
        let text = fs::read_to_string(out.join("train_log.jsonl")).unwrap_or_default();
        text.lines().count()
    };
    let mut cut = 0;
    while cut < 4 {
        let before = lines();
        let mut child = start(&out);
        let begun = std::time::Instant::now();
        while lines() < before + 3 && child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed().as_secs() < 60);
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let over = child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        child.wait().unwrap();
        if over {
            fs::remove_dir_all(&out).unwrap();
        } else {
            cut += 1;
        }
    }
    assert!(start(&out).wait().unwrap().success());
    assert_eq!(weights(&out), weights(&whole));
}

#[test]
fn the_best_checkpoint_and_generated_answers_stand_beside_the_whole_base() {
    let (_dir, out) = folder();
    let eval = fixture("dolly-mini-curated.csv").display().to_string();
    let extra = [
        "--eval_csv",
        &eval,
        "--eval_steps",
        "1",
        "--max_seq_len",
        "200",
        "--predict-with-generate",
        "--gen-rows",
        "3",
        "--generation-max-length",
        "8",
        "--load-best-model-at-end",
        "--lr",
        "0.05",
        "--lr-schedule",
        "constant",
        "--save-steps",
        "1",
    ];
    let summary = run(&out, "pissa", &extra);
    let best = summary["best"].clone();
    let step = best["step"].as_u64().unwrap();
    assert_eq!(
        weights(&out),
        weights(&out.join(format!("checkpoint-{step}")))
    );
    let plain = evaluated(&out);
    let seen = best["eval_loss"].as_f64().unwrap();
    assert!((seen - plain).abs() < 1e-3, "{seen} {plain}");
    assert_eq!(Adapter::load(&out).unwrap().config().r, 8);
}

#[test]
fn bf16_trains_on_the_rounded_residual() {
    let (_dir, out) = folder();
    run(&out, "pissa", &["--dtype", "bf16"]);
    let adapter = Adapter::load(&out).unwrap();
    assert_eq!(adapter.config().r, 8);
    assert!(losses(&out).iter().all(|loss| loss.is_finite()));
}

#[test]
fn the_plan_says_what_is_decomposed_and_dropout_is_warned_of() {
    let (_dir, out) = folder();
    let plan = |init: &str| {
        let done = train(&out, "2")
            .args([
                "--init-lora-weights",
                init,
                "--dry-run",
                "--no-probe",
                "--json",
            ])
            .assert()
            .success();
        serde_json::from_slice::<Value>(&done.get_output().stdout).unwrap()
    };
    let (pissa, plain) = (plan("pissa"), plan("true"));
    assert_eq!(pissa["decomposed_weights"], 8);
    assert_eq!(plain["decomposed_weights"], 0);
    let adapter = |plan: &Value| plan["memory"]["adapter"].as_u64().unwrap();
    assert!(adapter(&pissa) > adapter(&plain));
    let done = train(&out, "1")
        .args(["--init-lora-weights", "pissa"])
        .assert()
        .success();
    let told = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
    for words in [
        "8 weights to decompose",
        "--lora-dropout 0",
        "pissa, weights decomposed: 8 in",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
}

#[test]
fn noise_changes_the_losses_and_bias_does_not() {
    let of = |extra: &[&str]| {
        let (_dir, out) = folder();
        train(&out, "3").args(extra).assert().success();
        let config = Adapter::load(&out).unwrap().config().clone();
        (losses(&out), weights(&out), config.bias)
    };
    let plain = of(&[]);
    let noisy = of(&["--neftune_noise_alpha", "5"]);
    assert_ne!(plain.0[0], noisy.0[0]);
    assert_eq!(of(&["--neftune-noise-alpha", "0"]).1, plain.1);
    for (word, bias) in [
        ("all", lora::Bias::All),
        ("lora_only", lora::Bias::LoraOnly),
    ] {
        let biased = of(&["--bias", word]);
        assert_eq!(
            (biased.0, biased.1, biased.2),
            (plain.0.clone(), plain.1.clone(), bias)
        );
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    let (_dir, first) = folder();
    train(&first, "1").assert().success();
    let (_dir, out) = folder();
    let given = first.display().to_string();
    for (extra, code, word) in [
        (&["--init-lora-weights", "loftq"][..], 2, "loftq"),
        (&["--init-lora-weights", "pissa_niter_"], 2, "pissa_niter_N"),
        (
            &["--init-lora-weights", "pissa", "--init-adapter", &given],
            2,
            "--init-lora-weights",
        ),
        (
            &["--init-lora-weights", "pissa", "--lora-r", "64"],
            2,
            "rank",
        ),
        (
            &["--init-lora-weights", "orthogonal", "--lora-r", "3"],
            2,
            "even",
        ),
        (&["--neftune-noise-alpha=-1"], 2, "NEFTune"),
        (&["--bias", "some"], 2, "lora_only"),
        (&["--bias", "all", "--init-adapter", &given], 2, "--bias"),
    ] {
        let failed = train(&out, "1").args(extra).assert().code(code);
        let message = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
        assert!(message.contains(word), "{extra:?}: {message}");
        assert!(
            !out.exists(),
            "{extra:?}: refused before anything is written"
        );
    }
}
