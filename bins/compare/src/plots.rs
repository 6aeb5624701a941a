//! The intervals as a drawing for a terminal.

use std::fmt::Write as _;

use textmetrics::Metric;

use crate::Comparison;

/// Columns on either side of zero.
const HALF: usize = 24;

/// One line a metric: its interval, its change (`●`), and zero (`│`), all on one scale.
pub(crate) fn forest(comparison: &Comparison) -> String {
    let metrics = &comparison.figures.all.metrics;
    let reach = metrics
        .iter()
        .flat_map(|m| m.ci.map_or([m.delta, m.delta], |ci| [ci.lo, ci.hi]))
        .fold(0.0, |most: f64, end| most.max(end.abs()));
    let mut out = format!(
        "\nChange and its interval, from {:+.3} to {reach:+.3}\n",
        -reach
    );
    for metric in metrics {
        let label = Metric::ALL
            .iter()
            .find(|m| m.name() == metric.name)
            .map_or(metric.name.as_str(), |m| m.label());
        let ends = metric.ci.map_or([metric.delta; 2], |ci| [ci.lo, ci.hi]);
        let _ = writeln!(out, "{label:<24} {}", line(ends, metric.delta, reach));
    }
    out.truncate(out.trim_end().len());
    out
}

fn line(ends: [f64; 2], delta: f64, reach: f64) -> String {
    let column = |x: f64| {
        let share = if reach > 0.0 {
            (x / reach).clamp(-1.0, 1.0)
        } else {
            0.0
        };
        (HALF as f64 * (1.0 + share)).round() as usize
    };
    let (low, high, dot) = (column(ends[0]), column(ends[1]), column(delta));
    let glyph = |at: usize| match at {
        at if at == dot => '●',
        HALF => '│',
        at if (low..=high).contains(&at) => '─',
        _ => ' ',
    };
    let line: String = (0..=2 * HALF).map(glyph).collect();
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_in_the_middle_and_the_ends_are_at_the_ends() {
        let line = line([-0.1, 0.05], 0.02, 0.1);
        let at = |c| line.chars().position(|x| x == c);
        assert_eq!(at('─'), Some(0));
        assert_eq!(at('│'), Some(HALF));
        assert!(at('●') > at('│'));
        assert_eq!(line.chars().count(), HALF + HALF / 2 + 1);
    }

    #[test]
    fn no_change_at_all_is_a_dot_on_zero() {
        assert_eq!(line([0.0, 0.0], 0.0, 0.0).trim_start(), "●");
    }
}
