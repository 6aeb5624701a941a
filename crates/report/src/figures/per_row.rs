//! One mark a row: sorted differences, and before against after. Many rows share one path each, so
//! that a page with thousands of rows stays small.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::axis::Axis;
use crate::data::ReportRow;
use crate::format::{self, at};

/// More marks than this are thinned out evenly: the eye cannot part them any more.
const MOST_MARKS: usize = 2_000;

/// Every row's difference of F1, sorted: wins on the left, losses on the right.
pub(crate) fn waterfall(rows: &[ReportRow]) -> Markup {
    let mut deltas: Vec<f64> = rows.iter().map(ReportRow::delta).collect();
    deltas.sort_by(|a, b| b.total_cmp(a));
    let shown = thin(&deltas);
    let largest = deltas.iter().fold(0.05_f64, |most, d| most.max(d.abs())) * 1.05;
    let (width, height) = (620.0, 300.0);
    let y = Axis {
        low: -largest,
        high: largest,
        from: height - 10.0,
        to: 10.0,
    };
    let slot = (width - 50.0) / shown.len().max(1) as f64;
    let (ticks, decimals) = y.ticks(6);
    html! {
        figure.card {
            h3 { "Change of token F1, row by row" }
            svg viewBox={ "0 0 " (at(width)) " " (at(height)) } role="img" aria-label="Sorted differences of token F1" {
                @for tick in ticks {
                    line.grid x1="46" x2=(at(width)) y1=(at(y.at(tick))) y2=(at(y.at(tick))) {}
                    text x="38" y=(at(y.at(tick) + 4.0)) text-anchor="end" { (format::signed(tick, decimals)) }
                }
                @for class in ["up", "down"] {
                    path class={ "s-" (class) } stroke-width=(at((slot * 0.78).clamp(0.4, 26.0))) d=(bars(&shown, class, slot, &y)) {}
                }
                line.zero x1="46" x2=(at(width)) y1=(at(y.at(0.0))) y2=(at(y.at(0.0))) {}
            }
            figcaption { "Rows sorted by their change; rows without one leave a gap." }
        }
    }
}

fn bars(deltas: &[&f64], class: &str, slot: f64, y: &Axis) -> String {
    let mut path = String::new();
    for (i, &&delta) in deltas
        .iter()
        .enumerate()
        .filter(|(_, d)| format::direction(***d) == class)
    {
        let x = 50.0 + slot * (i as f64 + 0.5);
        let _ = write!(path, "M{x:.2} {:.1}V{:.1}", y.at(0.0), y.at(delta));
    }
    path
}

/// F1 before against F1 after: above the diagonal the second system won.
pub(crate) fn scatter(rows: &[ReportRow]) -> Markup {
    let x = Axis {
        low: 0.0,
        high: 1.0,
        from: 36.0,
        to: 330.0,
    };
    let y = Axis {
        low: 0.0,
        high: 1.0,
        from: 294.0,
        to: 10.0,
    };
    let shown = thin(rows);
    let size = if shown.len() > 300 { "4" } else { "7" };
    html! {
        figure.card {
            h3 { "Token F1, before and after" }
            svg viewBox="0 0 340 336" role="img" aria-label="Token F1 of every row, before against after" {
                @for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
                    line.grid x1=(at(x.at(tick))) x2=(at(x.at(tick))) y1="10" y2="294" {}
                    line.grid y1=(at(y.at(tick))) y2=(at(y.at(tick))) x1="36" x2="330" {}
                    @if tick != 0.25 && tick != 0.75 {
                        text x=(at(x.at(tick))) y="311" text-anchor="middle" { (tick) }
                        text x="28" y=(at(y.at(tick) + 4.0)) text-anchor="end" { (tick) }
                    }
                }
                line.zero x1=(at(x.at(0.0))) y1=(at(y.at(0.0))) x2=(at(x.at(1.0))) y2=(at(y.at(1.0))) {}
                @for class in ["tie", "down", "up"] {
                    path class={ "s-" (class) } stroke-width=(size) stroke-linecap="round" stroke-opacity=".72" d=(dots(&shown, class, &x, &y)) {}
                }
                text x="183" y="331" text-anchor="middle" { "before" }
                text x="46" y="24" { "after" }
            }
            figcaption { "Above the diagonal: won." }
        }
    }
}

fn dots(rows: &[&ReportRow], class: &str, x: &Axis, y: &Axis) -> String {
    let mut path = String::new();
    for row in rows
        .iter()
        .filter(|row| format::direction(row.delta()) == class)
    {
        let (x, y) = (x.at(row.before_score.f1), y.at(row.after_score.f1));
        let _ = write!(path, "M{x:.1} {y:.1}h0");
    }
    path
}

/// At most [`MOST_MARKS`] items, evenly chosen.
pub(super) fn thin<T>(items: &[T]) -> Vec<&T> {
    items
        .iter()
        .step_by(items.len().div_ceil(MOST_MARKS).max(1))
        .collect()
}
