//! Is a better score only a longer, or a shorter, answer?

use std::fmt::Write as _;

use maud::{Markup, html};

use super::axis::Axis;
use super::per_row::thin;
use crate::data::ReportRow;
use crate::format::at;

/// Words of each answer against its F1, before (orange) and after (blue), on a logarithmic axis.
pub(crate) fn lengths(rows: &[ReportRow]) -> Markup {
    let shown = thin(rows);
    let before: Vec<_> = shown
        .iter()
        .map(|row| (words(&row.before), row.before_score.f1))
        .collect();
    let after: Vec<_> = shown
        .iter()
        .map(|row| (words(&row.after), row.after_score.f1))
        .collect();
    let longest = before
        .iter()
        .chain(&after)
        .fold(8.0_f64, |most, (words, _)| most.max(*words));
    let x = Axis {
        low: 0.0,
        high: (longest + 1.0).ln(),
        from: 40.0,
        to: 610.0,
    };
    let y = Axis {
        low: 0.0,
        high: 1.0,
        from: 228.0,
        to: 14.0,
    };
    let marks = [0.0, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0];
    let size = if shown.len() > 300 { "4" } else { "7" };
    html! {
        figure.card {
            h3 { "Length of the answer and token F1" }
            svg viewBox="0 0 640 268" role="img" aria-label="Words of every answer against its token F1" {
                @for tick in [0.0, 0.5, 1.0] {
                    line.grid x1="40" x2="610" y1=(at(y.at(tick))) y2=(at(y.at(tick))) {}
                    text x="32" y=(at(y.at(tick) + 4.0)) text-anchor="end" { (tick) }
                }
                @for tick in marks.into_iter().filter(|words| *words <= longest) {
                    text x=(at(x.at((tick + 1.0).ln()))) y="246" text-anchor="middle" { (tick) }
                }
                text x="325" y="264" text-anchor="middle" { "words" }
                path.s-down stroke-width=(size) stroke-linecap="square" stroke-opacity=".55" d=(dots(&before, &x, &y)) {}
                path.s-up stroke-width=(size) stroke-linecap="round" stroke-opacity=".55" d=(dots(&after, &x, &y)) {}
            }
            figcaption { "Before: orange squares, " (mean(&before)) " words on average. After: blue dots, " (mean(&after)) " words." }
        }
    }
}

fn words(text: &str) -> f64 {
    text.split_whitespace().count() as f64
}

fn mean(points: &[(f64, f64)]) -> String {
    let sum: f64 = points.iter().map(|(words, _)| words).sum();
    format!("{:.1}", sum / points.len().max(1) as f64)
}

fn dots(points: &[(f64, f64)], x: &Axis, y: &Axis) -> String {
    let mut path = String::new();
    for (words, f1) in points {
        let _ = write!(path, "M{:.1} {:.1}h0", x.at((words + 1.0).ln()), y.at(*f1));
    }
    path
}
