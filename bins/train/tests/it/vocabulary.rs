//! Adapters of the embedding and the head, as flags of the program.

use lora::{Adapter, Site};

use crate::support::{fixture, folder, log, manifest, train, weights};

const FLAGS: [&str; 10] = [
    "--target-modules",
    "embed_tokens,lm_head,v_proj",
    "--loraplus-lr-ratio",
    "4",
    "--loraplus-lr-embedding",
    "1e-3",
    "--lora-dropout",
    "0.1",
    "--save-steps",
    "1",
];

#[test]
fn embedding_and_head_learn_and_go_on_from_a_checkpoint() {
    let (_dir, whole) = folder();
    train(&whole, "4").args(FLAGS).assert().success();
    let arguments = &manifest(&whole)["arguments"];
    assert_eq!(arguments["loraplus_lr_embedding"], 1e-3);
    let adapter = Adapter::load(&whole).unwrap();
    assert_eq!(adapter.pairs().count(), 4);
    for site in [Site::Embedding, Site::Head] {
        // One factor starts at zero.
        assert!(adapter.update_norm(site).unwrap() > 0.0, "{}", site.path());
    }
    for step in [1, 3] {
        let (_dir, out) = folder();
        let from = whole.join(format!("checkpoint-{step}"));
        let mut command = train(&out, "4");
        command
            .args(FLAGS)
            .arg("--resume-from-checkpoint")
            .arg(from);
        command.assert().success();
        assert_eq!(weights(&out), weights(&whole), "from {step}");
    }
}

#[test]
fn threads_change_no_bit_and_engines_agree() {
    let with = |threads: &str, extra: &[&str]| {
        let (dir, out) = folder();
        let mut command = train(&out, "3");
        command.args(FLAGS).args(extra);
        command.env("RAYON_NUM_THREADS", threads).assert().success();
        let losses: Vec<f64> = log(&out)
            .iter()
            .filter_map(|line| line["loss"].as_f64())
            .collect();
        let found = (weights(&out), losses);
        drop(dir);
        found
    };
    let one = with("1", &[]);
    assert!(one == with("2", &[]), "two threads");
    assert!(
        one == with("2", &["--checkpointing", "block"]),
        "blocks run again"
    );
    let (_, reference) = with("2", &["--engine", "autograd"]);
    assert_eq!(one.1.len(), 3);
    for (ours, theirs) in one.1.iter().zip(&reference) {
        assert!((ours - theirs).abs() < 1e-4, "{ours} {theirs}");
    }
}

#[test]
fn answers_are_generated_with_them_while_they_learn() {
    let (_dir, out) = folder();
    let eval = fixture("dolly-mini-curated.csv").display().to_string();
    let answers = [
        "--predict-with-generate",
        "--gen-rows",
        "3",
        "--generation-max-length",
        "8",
        "--eval_csv",
        &eval,
        "--metric-for-best-model",
        "rougeL",
    ];
    let mut command = train(&out, "2");
    command.args(FLAGS).args(answers).assert().success();
    let scored = log(&out);
    assert!(
        scored.iter().any(|line| line.get("eval_rougeL").is_some()),
        "{scored:?}"
    );
}
