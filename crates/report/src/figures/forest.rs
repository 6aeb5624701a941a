//! Differences with their intervals, one metric a line, around zero.

use std::collections::BTreeMap;

use maud::{Markup, html};
use textmetrics::stats::{MetricComparison, NoiseFloor, PairedComparison};

use super::axis::Axis;
use crate::format::{self, at};

/// Sizes of one layout of the figure.
struct Layout {
    width: f64,
    left: f64,
    right: f64,
    line: f64,
    /// The name stands over its line, not left of it.
    stacked: bool,
}

const WIDE: Layout = Layout {
    width: 1000.0,
    left: 185.0,
    right: 80.0,
    line: 34.0,
    stacked: false,
};
const NARROW: Layout = Layout {
    width: 360.0,
    left: 8.0,
    right: 8.0,
    line: 48.0,
    stacked: true,
};

/// The forest plot, in a wide and a narrow layout of which the style sheet shows one.
pub(crate) fn forest(
    comparison: &PairedComparison,
    noise: &BTreeMap<&'static str, NoiseFloor>,
) -> Markup {
    html! {
        figure.card {
            h3 { "Difference with its interval" }
            div.wide { (draw(comparison, noise, &WIDE)) }
            div.narrow { (draw(comparison, noise, &NARROW)) }
            figcaption {
                "Right of the dashed line the second system is better. The shaded band is what this number of rows cannot be relied on to show: a true difference inside it is missed more often than one time in five."
                @if !noise.is_empty() { " The dashed frame is what a second run of the first system changes by itself." }
            }
        }
    }
}

fn draw(
    comparison: &PairedComparison,
    noise: &BTreeMap<&'static str, NoiseFloor>,
    layout: &Layout,
) -> Markup {
    let x = domain(comparison, layout.left, layout.width - layout.right);
    let bottom = 8.0 + layout.line * comparison.metrics.len() as f64;
    let (ticks, decimals) = x.ticks(if layout.stacked { 4 } else { 8 });
    html! {
        svg viewBox={ "0 0 " (at(layout.width)) " " (at(bottom + 26.0)) } role="img" aria-label="Difference of each metric with its interval" {
            @for tick in ticks {
                line.grid x1=(at(x.at(tick))) x2=(at(x.at(tick))) y1="4" y2=(at(bottom)) {}
                text x=(at(x.at(tick))) y=(at(bottom + 18.0)) text-anchor="middle" { (format::signed(tick, decimals)) }
            }
            @for (i, metric) in comparison.metrics.iter().enumerate() {
                (one(metric, noise.get(metric.name.as_str()), &x, 8.0 + layout.line * i as f64, layout))
            }
            line.zero x1=(at(x.at(0.0))) x2=(at(x.at(0.0))) y1="4" y2=(at(bottom)) {}
        }
    }
}

fn one(
    metric: &MetricComparison,
    noise: Option<&NoiseFloor>,
    x: &Axis,
    top: f64,
    layout: &Layout,
) -> Markup {
    let y = if layout.stacked {
        top + 32.0
    } else {
        top + layout.line / 2.0
    };
    let direction = format::direction(metric.delta);
    let band = metric.mde.map(|mde| (x.at(-mde), x.at(mde)));
    html! {
        @if let Some((from, to)) = band {
            rect.band x=(at(from)) y=(at(y - 9.0)) width=(at(to - from)) height="18" rx="3" {}
        }
        @if let Some(noise) = noise {
            rect.noise x=(at(x.at(-noise.bound))) y=(at(y - 7.0)) width=(at(x.at(noise.bound) - x.at(-noise.bound))) height="14" {}
        }
        @if layout.stacked {
            text.name x=(at(layout.left)) y=(at(top + 15.0)) { (format::short_label(&metric.name)) }
        } @else {
            text.name x="0" y=(at(y + 4.0)) { (format::short_label(&metric.name)) }
        }
        @if let Some(ci) = metric.ci {
            line class={ "whisker s-" (direction) } x1=(at(x.at(ci.lo))) x2=(at(x.at(ci.hi))) y1=(at(y)) y2=(at(y)) {
                title { (format::label(&metric.name)) ": " (format::interval(metric)) }
            }
        }
        circle class={ "f-" (direction) } cx=(at(x.at(metric.delta))) cy=(at(y)) r="5.5" {}
        text.val x=(at(layout.width - if layout.stacked { layout.right } else { 0.0 })) y=(at(if layout.stacked { top + 15.0 } else { y + 4.0 })) text-anchor="end" {
            (format::signed(metric.delta, 4))
        }
    }
}

/// A range that holds every interval and zero, a little wider than needed, between two pixels.
pub(crate) fn domain(comparison: &PairedComparison, from: f64, to: f64) -> Axis {
    let ends = comparison.metrics.iter().flat_map(|m| {
        let (lo, hi) = m.ci.map_or((m.delta, m.delta), |ci| (ci.lo, ci.hi));
        [lo, hi, m.delta]
    });
    around_zero(ends, from, to)
}

/// A range that holds every value and zero, a little wider than needed, between two pixels.
pub(super) fn around_zero(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Axis {
    let (low, high) = values.fold((-0.02_f64, 0.02_f64), |(low, high), end| {
        (low.min(end), high.max(end))
    });
    let pad = 0.06 * (high - low);
    Axis {
        low: low - pad,
        high: high + pad,
        from,
        to,
    }
}
