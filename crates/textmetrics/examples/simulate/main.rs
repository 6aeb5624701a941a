//! Prints how often the tests err and the intervals hold, as the tables of `docs/statistics.md`.
//!
//! `cargo run --release -p textmetrics --example simulate -- [REPETITIONS] [SEED]`

mod coverage;
mod draw;
mod null;

use textmetrics::stats::StatsError;

const ROWS: [usize; 3] = [15, 50, 200];

fn main() -> Result<(), StatsError> {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>());
    let mut number = |default| args.next().and_then(Result::ok).unwrap_or(default);
    let (repetitions, seed) = (number(10_000), number(1));
    println!("{repetitions} repetitions, seed {seed}\n");
    table("test, 5 % allowed", |n| {
        let rates =
            null::Test::ALL.map(|test| (test.name(), test.error_rate(n, repetitions, seed)));
        rates.to_vec()
    })?;
    table("95 % interval", |n| {
        let rates = coverage::Case::ALL.map(|case| (case.name(), case.rate(n, repetitions, seed)));
        rates.to_vec()
    })
}

/// One line a name, one column a number of rows.
fn table(
    head: &str,
    of: impl Fn(usize) -> Vec<(&'static str, Result<f64, StatsError>)>,
) -> Result<(), StatsError> {
    println!("| {head} | n = 15 | n = 50 | n = 200 |\n|---|---|---|---|");
    let columns = ROWS.map(of);
    for line in 0..columns[0].len() {
        print!("| {} |", columns[0][line].0);
        for column in &columns {
            print!(" {:.2} % |", 100.0 * column[line].1.clone()?);
        }
        println!();
    }
    println!();
    Ok(())
}
