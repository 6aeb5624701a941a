//! How long the leakage audit of a split takes, on one core.
//!
//! usage: `cargo run --release -p dolly-data --example leaks_time -- ROWS FILE…`
//!
//! Repeats the rows of the files until there are ROWS, of each repetition about one word in seven
//! being replaced, so that few are duplicates and many share words; a tenth is the test set.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use dolly_data::{LeakAudit, LeakOptions, Row, load_rows};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let count: usize = args.next().ok_or("name the number of rows")?.parse()?;
    let mut base = Vec::new();
    for file in args {
        base.extend(load_rows(Path::new(&file))?.rows);
    }
    if base.is_empty() {
        return Err("name at least one file of rows".into());
    }
    let rows: Vec<Row> = (0..count)
        .map(|i| changed(&base[i % base.len()], i / base.len()))
        .collect();
    let bytes: usize = rows.iter().map(size).sum();
    let (test, train) = rows.split_at(count / 10);
    let start = Instant::now();
    let audit = LeakAudit::new(train, &[], test, &LeakOptions::default());
    let took = start.elapsed();
    println!("{count} rows, {bytes} bytes: {took:.2?}");
    println!("{}", serde_json::to_string_pretty(&audit.report())?);
    Ok(())
}

fn size(row: &Row) -> usize {
    let context = row.context.as_deref().unwrap_or_default();
    row.instruction.len() + context.len() + row.response.len()
}

/// The row with some words of each text replaced, others in each round; the first round has none.
fn changed(row: &Row, round: usize) -> Row {
    let text = |text: &str| {
        let words = text.split_inclusive(' ').enumerate();
        let changed = words.map(|(at, word)| {
            if round > 0 && (at + round * 3).is_multiple_of(7) {
                format!("w{}r{round} ", at * 31 % 997)
            } else {
                word.to_owned()
            }
        });
        changed.collect::<String>()
    };
    Row {
        id: format!("{}-{round}", row.id),
        category: row.category.clone(),
        instruction: text(&row.instruction),
        context: row.context.as_deref().map(text),
        response: text(&row.response),
        ..Row::default()
    }
}
