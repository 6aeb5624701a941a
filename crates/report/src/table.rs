//! The table of metrics.

use maud::{Markup, html};
use textmetrics::stats::{MetricComparison, PairedComparison, Verdict};

use crate::figures::{Axis, domain};
use crate::format::{self, at};

/// Size of an interval's bar, and the room at its ends.
const BAR_WIDTH: f64 = 150.0;
const BAR_PAD: f64 = 5.0;

/// Before, after, difference, interval, p, wins and losses, and the verdict in words.
pub(crate) fn metrics(comparison: &PairedComparison) -> Markup {
    let x = domain(comparison, BAR_PAD, BAR_WIDTH - BAR_PAD);
    html! {
        div.card.scroll {
            table.metrics {
                thead { tr {
                    th scope="col" { "Metric" } th scope="col" { "Before" } th scope="col" { "After" }
                    th scope="col" { "Δ" } th scope="col" { "Interval of Δ" }
                    th scope="col" { "p" } th scope="col" { "adjusted p" }
                    th scope="col" { "Won, tied, lost" } th scope="col" { "Verdict" }
                } }
                tbody { @for metric in &comparison.metrics { (row(metric, &x)) } }
            }
        }
    }
}

fn row(metric: &MetricComparison, x: &Axis) -> Markup {
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
            td.num.span data-th="interval" title=[metric.ci_method.as_deref()] { span { (format::interval(metric)) (bar(metric, x)) } }
            td.num data-th="p" title=(metric.test) { (format::p(metric.p)) }
            td.num data-th="adjusted p" { (format::p(metric.p_holm)) }
            td.span data-th="won, tied, lost" { (wins_ties_losses(metric)) }
            td class=(class) title=(metric.says) { (verdict(metric)) }
        }
    }
}

/// The interval as a bar; all bars of a table are on one scale, with a line at zero.
fn bar(metric: &MetricComparison, x: &Axis) -> Markup {
    let direction = format::direction(metric.delta);
    let zero = at(x.at(0.0));
    html! {
        svg.bar viewBox={ "0 0 " (at(BAR_WIDTH)) " 12" } aria-hidden="true" {
            line.zero x1=(zero) x2=(zero) y1="0" y2="12" {}
            @if let Some(ci) = metric.ci {
                line class={ "whisker s-" (direction) } x1=(at(x.at(ci.lo))) x2=(at(x.at(ci.hi))) y1="6" y2="6" {}
            }
            circle class={ "f-" (direction) } cx=(at(x.at(metric.delta))) cy="6" r="4" {}
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
