//! The table of metrics.

use maud::{Markup, html};
use textmetrics::stats::{MetricComparison, PairedComparison, Verdict};

use crate::format;

/// Before, after, difference, interval, p, wins and losses, and the verdict in words.
pub(crate) fn metrics(comparison: &PairedComparison) -> Markup {
    html! {
        div.card.scroll {
            table.metrics {
                thead { tr {
                    th scope="col" { "Metric" } th scope="col" { "Before" } th scope="col" { "After" }
                    th scope="col" { "Δ" } th scope="col" { "Interval of Δ" }
                    th scope="col" { "p" } th scope="col" { "adjusted p" }
                    th scope="col" { "Won, tied, lost" } th scope="col" { "Verdict" }
                } }
                tbody { @for metric in &comparison.metrics { (row(metric)) } }
            }
        }
    }
}

fn row(metric: &MetricComparison) -> Markup {
    let class = match metric.verdict {
        Verdict::Better => "says better up",
        Verdict::Worse => "says worse down",
        _ => "says",
    };
    html! {
        tr {
            td title=(format::label(&metric.name)) { (format::short_label(&metric.name)) }
            td.num data-th="before" { (format::score(metric.before)) }
            td.num data-th="after" { (format::score(metric.after)) }
            td class={ "num " (format::direction(metric.delta)) } data-th="Δ" { (format::signed(metric.delta, 4)) }
            td.num.span data-th="interval" title=[metric.ci_method.as_deref()] { (format::interval(metric)) }
            td.num data-th="p" title=(metric.test) { (format::p(metric.p)) }
            td.num data-th="adjusted p" { (format::p(metric.p_holm)) }
            td.span data-th="won, tied, lost" { (wins_ties_losses(metric)) }
            td class=(class) title=(metric.says) { (verdict(metric)) }
        }
    }
}

/// The verdict without the figures that stand in the same line.
fn verdict(metric: &MetricComparison) -> String {
    match (metric.verdict, metric.rows_needed) {
        (Verdict::CannotTell, Some(rows)) => format!("cannot tell; about {rows} rows needed"),
        (verdict, _) => verdict.to_string(),
    }
}

/// A bar in three parts with its counts.
fn wins_ties_losses(metric: &MetricComparison) -> Markup {
    let total = (metric.wins + metric.ties + metric.losses).max(1) as f64;
    let width = |count: u64| format!("width:{:.2}%", 100.0 * count as f64 / total);
    html! {
        span {
            span.wtl aria-hidden="true" {
                i.w style=(width(metric.wins)) {} i.t style=(width(metric.ties)) {} i.l style=(width(metric.losses)) {}
            }
            span.wtl-n { (metric.wins) " · " (metric.ties) " · " (metric.losses) }
        }
    }
}
