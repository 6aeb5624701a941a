//! The comparison as text.

use std::fmt::Write as _;

use textmetrics::Metric;
use textmetrics::stats::{MetricComparison, PairedComparison, RowsComparison};

use crate::Comparison;

/// Both tables (all rows, short rows), each with a verdict a line, and the overall verdict.
pub fn table(comparison: &Comparison) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "before: {}\nafter:  {}",
        comparison.before.name, comparison.after.name
    );
    sections(
        &mut out,
        &comparison.figures,
        comparison.score_options.short_thresh,
        comparison.options().alpha,
    );
    let all = &comparison.figures.all;
    for note in &comparison.notes {
        let _ = writeln!(out, "\n{note}");
    }
    let verdict = if comparison.identical {
        "identical predictions"
    } else {
        &all.says
    };
    let _ = write!(out, "\nOverall: {verdict}");
    out
}

/// The tables of all rows and of the short ones.
pub(crate) fn sections(
    out: &mut String,
    figures: &RowsComparison,
    short_thresh: usize,
    alpha: f64,
) {
    let all = &figures.all;
    section(out, &format!("All {} rows", all.n), all, alpha);
    if let Some(short) = figures.short.as_ref().filter(|short| short.n < all.n) {
        let title = format!(
            "{} rows with a short gold answer (at most {short_thresh} tokens)",
            short.n
        );
        section(out, &title, short, alpha);
    }
}

fn section(out: &mut String, title: &str, comparison: &PairedComparison, alpha: f64) {
    let interval = format!("{:.0} % interval", (1.0 - alpha) * 100.0);
    let _ = writeln!(
        out,
        "\n{title}\n{:<24} {:>7} {:>7} {:>8}  {:<18}  {:>7} {:>7}  {:<13} {:>7}  verdict",
        "metric", "before", "after", "change", interval, "p", "adj. p", "won/tied/lost", "MDE"
    );
    for metric in &comparison.metrics {
        let _ = writeln!(out, "{}", line(metric));
    }
}

fn line(metric: &MetricComparison) -> String {
    let label = Metric::ALL
        .iter()
        .find(|m| m.name() == metric.name)
        .map_or(metric.name.as_str(), |m| m.label());
    let interval = metric.ci.map_or_else(
        || "-".into(),
        |ci| format!("[{:+.4}, {:+.4}]", ci.lo, ci.hi),
    );
    let mde = metric
        .mde
        .map_or_else(|| "-".into(), |mde| format!("{mde:.4}"));
    let counts = format!("{}/{}/{}", metric.wins, metric.ties, metric.losses);
    format!(
        "{label:<24} {:>7.4} {:>7.4} {:>+8.4}  {interval:<18}  {:>7} {:>7}  {counts:<13} {mde:>7}  {}",
        metric.before,
        metric.after,
        metric.delta,
        p(metric.p),
        p(metric.p_holm),
        metric.says
    )
}

fn p(value: f64) -> String {
    if value < 0.0001 {
        "<0.0001".into()
    } else {
        format!("{value:.4}")
    }
}
