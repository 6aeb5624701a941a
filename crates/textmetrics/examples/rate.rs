//! Rows a second on one thread: `cargo run --release --example rate -- predictions.jsonl`.
#![allow(clippy::unwrap_used, reason = "a measuring tool")]

use std::hint::black_box;
use std::time::Instant;
use textmetrics::rouge::RougeScorer;
use textmetrics::{ScoreOptions, Scorer};

fn main() {
    let path = std::env::args()
        .nth(1)
        .expect("a JSONL file with `gold` and `prediction`");
    let rows: Vec<(String, String)> = std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = |key: &str| row[key].as_str().unwrap().to_owned();
            (text("gold"), text("prediction"))
        })
        .collect();
    let mut rouge = RougeScorer::new(true);
    measure("ROUGE-1/2/L/Lsum, stemmed", &rows, |gold, prediction| {
        black_box(rouge.score(gold, prediction));
    });
    let mut all = Scorer::new(ScoreOptions::default());
    measure("every metric", &rows, |gold, prediction| {
        black_box(all.score(gold, prediction));
    });
}

fn measure(what: &str, rows: &[(String, String)], mut score: impl FnMut(&str, &str)) {
    let best = (0..5)
        .map(|_| {
            let start = Instant::now();
            for (gold, prediction) in rows {
                score(gold, prediction);
            }
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min);
    println!("{what}: {:.0} rows/s", rows.len() as f64 / best);
}
