//! Would the difference be there if the answers were as long as before?

use std::collections::BTreeMap;

use maud::{Markup, html};
use textmetrics::stats::{LengthControl, PairedComparison};

use super::axis::Axis;
use super::forest::around_zero;
use crate::format::{self, at};

const WIDTH: f64 = 640.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 70.0;
/// Height of a metric's name and its two intervals.
const BLOCK: f64 = 84.0;

/// For each metric that length alone can move: the difference as it is, and at matched length.
pub(crate) fn matched(
    comparison: &PairedComparison,
    controls: &BTreeMap<&'static str, LengthControl>,
) -> Markup {
    let shown: Vec<_> = controls
        .iter()
        .filter_map(|(name, control)| Some((comparison.metric(name)?, control)))
        .collect();
    let ends = shown.iter().flat_map(|(metric, control)| {
        let raw = metric.ci.map_or([metric.delta; 2], |ci| [ci.lo, ci.hi]);
        raw.into_iter().chain(control.matched_ci)
    });
    let x = around_zero(ends, LEFT, WIDTH - RIGHT);
    let bottom = BLOCK * shown.len() as f64;
    let (ticks, decimals) = x.ticks(5);
    html! {
        @if !shown.is_empty() {
            figure.card.across {
                h3 { "The difference at matched length" }
                svg viewBox={ "0 0 " (at(WIDTH)) " " (at(bottom + 26.0)) } role="img" aria-label="Difference as it is and at matched length" {
                    @for tick in ticks {
                        line.grid x1=(at(x.at(tick))) x2=(at(x.at(tick))) y1="24" y2=(at(bottom)) {}
                        text x=(at(x.at(tick))) y=(at(bottom + 18.0)) text-anchor="middle" { (format::signed(tick, decimals)) }
                    }
                    line.zero x1=(at(x.at(0.0))) x2=(at(x.at(0.0))) y1="24" y2=(at(bottom)) {}
                    @for (i, (metric, control)) in shown.iter().enumerate() {
                        @let top = BLOCK * i as f64;
                        @let raw = metric.ci.map_or([metric.delta; 2], |ci| [ci.lo, ci.hi]);
                        text.name x="0" y=(at(top + 16.0)) { (format::short_label(&metric.name)) }
                        (line("as it is", metric.delta, raw, &x, top + 38.0))
                        (line("at matched length", control.matched_delta, control.matched_ci, &x, top + 62.0))
                    }
                }
                figcaption {
                    "Where an answer is as long as before, by a line through all rows. Change of length and of score correlate with "
                    @for (i, (metric, control)) in shown.iter().enumerate() {
                        @if i > 0 { " and " }
                        (format!("r = {:.2}", control.pearson)) " (" (format::short_label(&metric.name)) ")"
                    }
                    "."
                }
            }
        }
    }
}

fn line(name: &str, delta: f64, [low, high]: [f64; 2], x: &Axis, y: f64) -> Markup {
    let direction = format::direction(delta);
    html! {
        text x="0" y=(at(y + 4.0)) { (name) }
        line class={ "whisker s-" (direction) } x1=(at(x.at(low))) x2=(at(x.at(high))) y1=(at(y)) y2=(at(y)) {}
        circle class={ "f-" (direction) } cx=(at(x.at(delta))) cy=(at(y)) r="5" {}
        text.val x=(at(WIDTH)) y=(at(y + 4.0)) text-anchor="end" { (format::signed(delta, 4)) }
    }
}
