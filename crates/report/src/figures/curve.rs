//! The loss of the training run.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::axis::Axis;
use crate::data::TrainPoint;
use crate::format::{self, at};

/// Training loss at each step (faint), its running mean, and the evaluation loss where it was taken.
pub(crate) fn training(points: &[TrainPoint]) -> Markup {
    let train = series(points, |p| p.loss);
    let eval = series(points, |p| p.eval_loss);
    let values = || train.iter().chain(&eval).map(|(_, loss)| *loss);
    let low = values().fold(f64::INFINITY, f64::min);
    let high = values().fold(f64::NEG_INFINITY, f64::max);
    if !low.is_finite() || !high.is_finite() {
        return html! {};
    }
    let pad = (0.08 * (high - low)).max(1e-3);
    let last = points.iter().map(|p| p.step).max().unwrap_or(1).max(2) as f64;
    let x = Axis {
        low: 1.0,
        high: last,
        from: 50.0,
        to: 985.0,
    };
    let y = Axis {
        low: low - pad,
        high: high + pad,
        from: 250.0,
        to: 10.0,
    };
    let (x_ticks, y_ticks) = (x.ticks(10).0, y.ticks(5));
    html! {
        figure.card {
            h3 { "Loss" }
            svg viewBox="0 0 1000 292" role="img" aria-label="Training loss by step" {
                @for tick in y_ticks.0 {
                    line.grid x1="50" x2="985" y1=(at(y.at(tick))) y2=(at(y.at(tick))) {}
                    text x="42" y=(at(y.at(tick) + 4.0)) text-anchor="end" { (format!("{tick:.*}", y_ticks.1)) }
                }
                @for tick in x_ticks.into_iter().filter(|t| t.fract() == 0.0) {
                    text x=(at(x.at(tick))) y="268" text-anchor="middle" { (tick) }
                }
                text x="517" y="288" text-anchor="middle" { "optimiser step" }
                @if train.len() > 20 { path.faint d=(path(&train, &x, &y)) {} }
                path.line d=(path(&smooth(&train), &x, &y)) {}
                path.line.eval d=(path(&eval, &x, &y)) {}
                @for (step, loss) in &eval { circle.f-down cx=(at(x.at(*step))) cy=(at(y.at(*loss))) r="4" {} }
            }
            figcaption { (caption(&train, &eval)) }
        }
    }
}

/// The learning rate at each step; nothing where the log has none.
pub(crate) fn learning_rate(points: &[TrainPoint]) -> Markup {
    let rates = series(points, |p| p.lr);
    let high = rates.iter().fold(0.0_f64, |most, (_, lr)| most.max(*lr));
    if high <= 0.0 {
        return html! {};
    }
    let last = rates
        .iter()
        .fold(2.0_f64, |most, (step, _)| most.max(*step));
    let x = Axis {
        low: 1.0,
        high: last,
        from: 50.0,
        to: 985.0,
    };
    let y = Axis {
        low: 0.0,
        high,
        from: 110.0,
        to: 14.0,
    };
    html! {
        figure.card {
            h3 { "Learning rate" }
            svg viewBox="0 0 1000 134" role="img" aria-label="Learning rate by step" {
                @for tick in [0.0, high] {
                    line.grid x1="50" x2="985" y1=(at(y.at(tick))) y2=(at(y.at(tick))) {}
                    text x="42" y=(at(y.at(tick) + 4.0)) text-anchor="end" { @if tick == 0.0 { "0" } @else { (format!("{tick:.0e}")) } }
                }
                @for tick in x.ticks(10).0.into_iter().filter(|t| t.fract() == 0.0) {
                    text x=(at(x.at(tick))) y="128" text-anchor="middle" { (tick) }
                }
                path.line d=(path(&rates, &x, &y)) {}
            }
        }
    }
}

fn series(points: &[TrainPoint], of: impl Fn(&TrainPoint) -> Option<f64>) -> Vec<(f64, f64)> {
    let finite = points.iter().filter_map(|p| Some((p.step as f64, of(p)?)));
    finite.filter(|(_, loss)| loss.is_finite()).collect()
}

/// A running mean over a twentieth of the steps; short series stay as they are.
fn smooth(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let half = points.len() / 40;
    let mean_around = |i: usize| {
        let window = &points[i.saturating_sub(half)..(i + half + 1).min(points.len())];
        window.iter().map(|(_, loss)| loss).sum::<f64>() / window.len() as f64
    };
    points
        .iter()
        .enumerate()
        .map(|(i, (step, _))| (*step, mean_around(i)))
        .collect()
}

fn path(points: &[(f64, f64)], x: &Axis, y: &Axis) -> String {
    let mut d = String::new();
    for (i, (step, loss)) in points.iter().enumerate() {
        let _ = write!(
            d,
            "{}{:.1} {:.1}",
            if i == 0 { 'M' } else { 'L' },
            x.at(*step),
            y.at(*loss)
        );
    }
    d
}

fn caption(train: &[(f64, f64)], eval: &[(f64, f64)]) -> String {
    let ends = |name: &str, s: &[(f64, f64)]| match (s.first(), s.last()) {
        (Some(first), Some(last)) => format!(
            "{name} {} → {}. ",
            format::score(first.1),
            format::score(last.1)
        ),
        _ => String::new(),
    };
    let text = ends("Training loss (blue)", train) + &ends("Evaluation loss (orange)", eval);
    text.trim_end().to_owned()
}
