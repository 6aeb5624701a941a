//! A sweep as a table on a terminal and as a page.

use report::{Provenance, SweepData, SweepRow, SweepTest};
use serde_json::Value;
use textmetrics::stats::Interval;

use super::cells::Sweep;
use super::look::Outcome;
use super::rank::{Ranked, Row};

/// Rank, recipe, mean, interval, distance to the best.
pub(super) fn table(sweep: &Sweep, ranked: &Ranked) -> String {
    let seeds = sweep.config.sweep.seeds.len();
    let lower = if sweep.metric.lower_is_better() {
        "lower"
    } else {
        "higher"
    };
    let names = ranked.rows.iter().map(|row| row.cell.name.chars().count());
    let width = names.max().unwrap_or(0).max("recipe".len());
    let mut lines = vec![
        format!(
            "{} recipes with {seeds} seeds by {}, {lower} is better",
            ranked.rows.len(),
            sweep.metric.label()
        ),
        String::new(),
        format!(
            "     {:<width$} {:>8}  {:>18}  against the best",
            "recipe", "mean", "95 % interval"
        ),
    ];
    for (at, row) in ranked.rows.iter().enumerate() {
        lines.push(format!(
            "{:>3}. {:<width$} {:>8.4}  {:>18}  {}",
            at + 1,
            row.cell.name,
            row.mean,
            row.interval
                .map_or_else(|| "-".into(), |ci| format!("[{:.4}, {:.4}]", ci.lo, ci.hi)),
            behind(row)
        ));
    }
    if let Some(note) = note(ranked) {
        lines.extend([String::new(), note]);
    }
    lines.join("\n")
}

fn behind(row: &Row) -> String {
    match row.behind {
        None => "the best".into(),
        Some((mean, None)) => format!("{mean:+.4}"),
        Some((mean, Some(ci))) => {
            let told = if row.may_be_the_best() {
                ", cannot tell"
            } else {
                ""
            };
            format!("{mean:+.4} [{:+.4}, {:+.4}]{told}", ci.lo, ci.hi)
        }
    }
}

/// What a reader must know about the winner.
fn note(ranked: &Ranked) -> Option<String> {
    let others = &ranked.rows[1..];
    if ranked.rows[0].scores.len() < 2 {
        return Some(
            "With one seed nothing says how much of an order is luck; give more with --seeds."
                .into(),
        );
    }
    let near = others.iter().filter(|row| row.may_be_the_best()).count();
    (near > 0).then(|| {
        format!(
            "{near} of {} other recipes cannot be told from the best with these seeds.",
            others.len()
        )
    })
}

/// The page.
pub(super) fn page(sweep: &Sweep, ranked: &Ranked, test: Option<&Outcome>) -> SweepData {
    let config = &sweep.config;
    let mut notes: Vec<String> = note(ranked).into_iter().collect();
    if let Some(Outcome::Refused(why)) = test {
        notes.push(format!("Note: {why}."));
    }
    let facts = [
        ("model", config.model.name.clone()),
        ("rows", config.data.source.clone()),
        (
            "split",
            format!(
                "{} to train on, {} to rank by, {} held out, seed {}",
                config.data.train, config.data.val, config.data.test, config.data.seed
            ),
        ),
        ("preset", config.preset.clone()),
        ("smoltune", env!("CARGO_PKG_VERSION").into()),
    ];
    let facts = facts.into_iter().filter(|(_, value)| !value.is_empty());
    SweepData {
        title: "Sweep".into(),
        metric: sweep.metric.label(),
        lower_is_better: sweep.metric.lower_is_better(),
        seeds: config.sweep.seeds.clone(),
        rows: ranked.rows.iter().map(page_row).collect(),
        test: match test {
            Some(Outcome::Scored(comparison)) => test_rows(comparison),
            _ => Vec::new(),
        },
        provenance: vec![Provenance {
            title: "What was swept".into(),
            facts: facts
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        }],
        notes,
    }
}

fn page_row(row: &Row) -> SweepRow {
    let ends = |interval: Option<Interval>| interval.map(|ci| (ci.lo, ci.hi));
    SweepRow {
        settings: row.cell.name.clone(),
        scores: row.scores.clone(),
        mean: row.mean,
        interval: ends(row.interval),
        behind: row.behind.map(|(mean, _)| mean),
        behind_interval: row.behind.and_then(|(_, ci)| ends(ci)),
    }
}

/// The metrics of what `compare` wrote.
fn test_rows(comparison: &Value) -> Vec<SweepTest> {
    let all = textmetrics::Metric::ALL.iter();
    all.filter_map(|metric| {
        let found = comparison["metrics"].get(metric.name())?;
        let end = |at: usize| found["ci"][at].as_f64();
        Some(SweepTest {
            metric: metric.name().into(),
            before: found["before"].as_f64()?,
            after: found["after"].as_f64()?,
            interval: end(0).zip(end(1)),
            verdict: found["verdict"]
                .as_str()
                .unwrap_or_default()
                .replace('_', " "),
        })
    })
    .collect()
}
