//! Answers that are scored while training.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use textmetrics::{ScoreOptions, Summary};

use crate::support::{child, fixture, folder, log, train};

const ROWS: &str = "dolly-mini-curated.jsonl";

#[test]
fn the_scores_are_those_of_generate_and_evaluate_with_that_adapter() {
    for dtype in ["f32", "bf16", "f32 --use-dora"] {
        let (dir, out) = folder();
        // So large a rate that answers change.
        let flags = "--lr 0.02 --warmup-ratio 0 --max_seq_len 300 --eval-steps 2 --predict-with-generate \
             --gen-rows 1000 --generation-max-length 24 --dtype";
        train(&out, "4")
            .arg("--eval_csv")
            .arg(fixture(ROWS))
            .args(flags.split_whitespace())
            .args(dtype.split_whitespace())
            .assert()
            .success();
        let evaluations: Vec<_> = log(&out)
            .into_iter()
            .filter(|line| line["eval_loss"].is_number())
            .collect();
        assert_eq!(evaluations.len(), 2);
        assert_ne!(
            evaluations[0]["eval_token_f1"],
            evaluations[1]["eval_token_f1"]
        );

        let answers = dir.path().join("answers.jsonl");
        let args = generate::Args::parse_from([
            "generate",
            "--model_name",
            out.to_str().unwrap(),
            "--test_csv",
            fixture(ROWS).to_str().unwrap(),
            "--out_file",
            answers.to_str().unwrap(),
            "--max_new_tokens",
            "24",
        ]);
        generate::answer(&args).unwrap();
        let answers = evaluate::load_predictions(&answers).unwrap();
        let options = ScoreOptions::default();
        let scored = evaluate::score_predictions(&answers, &options);
        let all = scored.iter().collect::<Summary>().scores(&options).all;
        let count = answers.len() as f64;
        let stopped = answers
            .iter()
            .filter(|answer| answer.finish_reason.as_deref() == Some("stop"));
        let tokens: usize = answers
            .iter()
            .map(|answer| answer.new_tokens.unwrap())
            .sum();
        for (name, expected) in [
            ("eval_token_f1", all.f1.unwrap()),
            ("eval_rougeL", all.rouge_l.unwrap()),
            ("eval_stop_rate", stopped.count() as f64 / count),
            ("eval_gen_len", tokens as f64 / count),
        ] {
            let found = evaluations[1][name].as_f64().unwrap();
            assert_eq!(found, expected, "{name}, {dtype}");
        }
    }
}

#[test]
fn the_best_by_score_is_kept_and_named() {
    let (_dir, out) = folder();
    let flags = "--lr 0.05 --lr-schedule constant --max_seq_len 200 --eval-steps 1 --predict-with-generate \
         --gen-rows 8 --generation-max-length 16 --metric-for-best-model eval_rougeL \
         --load-best-model-at-end --early-stopping-patience 3 --save-steps 1 --json";
    let mut command = train(&out, "60");
    command.args(flags.split_whitespace());
    let done = command
        .arg("--eval_csv")
        .arg(fixture(ROWS))
        .assert()
        .success();
    let summary: serde_json::Value = serde_json::from_slice(&done.get_output().stdout).unwrap();
    let scores: Vec<f64> = log(&out)
        .iter()
        .filter_map(|line| line["eval_rougeL"].as_f64())
        .collect();
    let best = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let first = scores.iter().position(|score| *score == best).unwrap() + 1;
    assert_eq!(summary["best"]["metric"], "eval_rougeL");
    assert_eq!(summary["best"]["value"].as_f64(), Some(best));
    assert_eq!(summary["best"]["step"].as_u64(), Some(first as u64));
    assert_eq!(summary["stopped_early"], true);
    assert_eq!(summary["steps"].as_u64(), Some(first as u64 + 3));
    assert_eq!(summary["loaded_best"], true);
    let state = out
        .join(format!("checkpoint-{first}"))
        .join(lora::STATE_FILE);
    let state: serde_json::Value = serde_json::from_slice(&std::fs::read(state).unwrap()).unwrap();
    assert_eq!(state["metric_for_best_model"], "eval_rougeL");
    assert_eq!(state["best_metric"].as_f64(), Some(best));
}

#[test]
fn ctrl_c_does_not_wait_for_answers() {
    let (dir, out) = folder();
    let mut command = child(&out, "50");
    // So many rows that an evaluation takes ten times as long as the wait below, or more.
    let text = std::fs::read_to_string(fixture("dolly-mini.csv")).unwrap();
    let (head, rows) = text.split_once('\n').unwrap();
    let many = dir.path().join("many.csv");
    std::fs::write(&many, format!("{head}\n{}", rows.repeat(40))).unwrap();
    let flags = "--max_seq_len 200 --eval-steps 1 --predict-with-generate --gen-rows 2000 --generation-max-length 450";
    let mut child = command
        .args(flags.split_whitespace())
        .arg("--eval_csv")
        .arg(&many)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    let lines = || std::fs::read_to_string(out.join("train_log.jsonl")).unwrap_or_default();
    while lines().is_empty() && started.elapsed() < Duration::from_mins(1) {
        std::thread::sleep(Duration::from_millis(20));
    }
    // The loss of the rows comes first.
    std::thread::sleep(Duration::from_millis(1500));
    let pid = child.id().to_string();
    Command::new("kill").args(["-INT", &pid]).status().unwrap();
    let asked = Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(asked.elapsed() < Duration::from_secs(5));
    assert_eq!(log(&out).len(), 1, "the evaluation did not come to its end");
    let saved = lora::Checkpoint::load(out.join("checkpoint-1")).unwrap();
    assert!(!saved.progress.settled, "and is made again");
}
