//! Stop strings, several candidates, log-probabilities, and rows that cannot be asked.

use clap::Parser;
use generate::{Args, Prediction};
use stage::Exit;

use crate::{answer, answers, args, fixture};

fn run(more: &[&str]) -> Vec<Prediction> {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.jsonl");
    answer(&args(&out, more)).unwrap();
    answers(&out)
}

#[test]
fn an_answer_ends_where_a_stop_string_begins() {
    let free = run(&["--limit", "12"]);
    // Two characters from the midst of an answer, which need not begin or end where a token does.
    let chars: Vec<char> = free[0].prediction.chars().collect();
    let stop: String = chars[chars.len() / 2..][..2].iter().collect();
    let flags = ["--limit", "12", "--stop", &stop, "--stop", "\u{1}never"];
    let cut = run(&flags);
    for (cut, free) in cut.iter().zip(&free) {
        let expected = free.prediction.split(&stop).next().unwrap();
        assert_eq!(cut.prediction, expected.trim_end());
        assert!(cut.new_tokens <= free.new_tokens);
        if free.prediction.contains(&stop) {
            assert_eq!(cut.finish_reason, "stop");
        } else {
            assert_eq!(cut, free);
        }
    }
    assert!(cut[0].new_tokens < free[0].new_tokens);
    let alone = [&flags[..], &["--batch_size", "1", "--check_batch", "4"]].concat();
    assert_eq!(run(&alone), cut);
}

#[test]
fn the_likeliest_of_several_is_kept() {
    let drawn = ["--limit", "8", "--temperature", "1.2", "--check_batch", "3"];
    let one = run(&drawn);
    let best = run(&[&drawn[..], &["--best_of", "4"]].concat());
    let likelihood = |row: &Prediction| row.mean_logprob.unwrap();
    assert!(
        best.iter()
            .zip(&one)
            .all(|(a, b)| likelihood(a) >= likelihood(b))
    );
    assert_ne!(best, one);
    let again = [&drawn[..], &["--best_of", "4", "--batch_size", "3"]].concat();
    assert_eq!(run(&again), best);
}

#[test]
fn log_probabilities_are_told_token_by_token() {
    for row in run(&["--limit", "5", "--logprobs"]) {
        let tokens = row.logprobs.unwrap();
        assert_eq!(tokens.len(), row.new_tokens);
        assert!(tokens.iter().all(|token| token.logprob <= 0.0));
        let text: String = tokens.iter().map(|token| token.token.as_str()).collect();
        if !text.contains(char::REPLACEMENT_CHARACTER) {
            assert_eq!(text.trim(), row.prediction);
        }
        if row.finish_reason == "length" {
            let mean = tokens.iter().map(|t| t.logprob).sum::<f64>() / tokens.len() as f64;
            assert!((mean - row.mean_logprob.unwrap()).abs() < 1e-5);
        }
    }
}

#[test]
fn a_row_that_cannot_be_asked_says_why_and_the_others_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let (rows, out) = (dir.path().join("rows.jsonl"), dir.path().join("out.jsonl"));
    let long = "why ".repeat(400);
    let lines = ["Who?", long.as_str(), "What?"]
        .map(|asked| format!("{{\"instruction\": {asked:?}, \"response\": \"gold\"}}\n"));
    std::fs::write(&rows, lines.concat()).unwrap();
    let mut args = args(&out, &[]);
    args.test_csv = rows;
    let summary = answer(&args).unwrap();
    assert_eq!((summary.rows, summary.errors), (3, 1));
    let found = answers(&out);
    let reasons: Vec<&str> = found.iter().map(|row| row.finish_reason.as_str()).collect();
    assert_eq!(reasons[1], "error");
    assert!(reasons[0] != "error" && reasons[2] != "error");
    assert!(
        found[1].error.as_ref().unwrap().contains("tokens"),
        "{:?}",
        found[1].error
    );
    // It is not asked again.
    assert_eq!(answer(&args).unwrap().resumed, 3);
}

#[test]
fn an_answer_ends_with_the_models_positions() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.jsonl");
    let mut args = args(&out, &["--limit", "3"]);
    args.max_new_tokens = 100_000;
    answer(&args).unwrap();
    let rows = answers(&out);
    assert!(
        rows.iter()
            .all(|row| row.prompt_tokens + row.new_tokens <= 512)
    );
}

#[test]
fn settings_without_sense_are_refused() {
    let (model, rows) = (fixture("tiny-model"), fixture("dolly-mini.jsonl"));
    for (wrong, hint) in [
        (vec!["--best_of", "2"], "temperature"),
        (vec!["--best_of", "0"], "at least 1"),
        (vec!["--stop", ""], "a text"),
        (vec!["--format", "openai", "--shard", "1/2"], "--shard"),
    ] {
        let fixed = ["generate", "--model_name", &model, "--test_csv", &rows];
        let error = answer(&Args::parse_from(fixed.iter().chain(&wrong))).unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);
        assert!(error.to_string().contains(hint), "{error}");
    }
}
