//! Bars for a terminal.

use std::fmt::Write;

use textmetrics::Metric;

use crate::groups::Group;

const WIDTH: usize = 32;
const EIGHTHS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A bar a metric over all rows, a bar of token F1 a group, and the distribution of token F1.
pub(crate) fn plots(groups: &[Group], f1: &[usize; 10]) -> String {
    let mut out = String::new();
    if let Some(all) = groups.first() {
        for metric in Metric::ALL {
            line(&mut out, metric.label(), all.metrics.get(metric));
        }
    }
    out += "\nToken F1 by group\n";
    for group in groups {
        let name = format!("{} ({})", group.name, group.metrics.n);
        line(&mut out, &name, group.metrics.f1);
    }
    let _ = write!(out, "\nToken F1 of rows, 0 to 1: {}", sparkline(f1));
    out
}

fn line(out: &mut String, name: &str, value: Option<f64>) {
    let Some(value) = value else { return };
    let shown: String = name.chars().filter(|c| !c.is_control()).take(30).collect();
    let _ = writeln!(out, "{shown:<30} {value:>6.4} {}", bar(value));
}

/// A bar for a share, to an eighth of a character.
fn bar(share: f64) -> String {
    let eighths = (share.clamp(0.0, 1.0) * (WIDTH * 8) as f64).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    bar.extend((eighths % 8).checked_sub(1).map(|rest| EIGHTHS[rest]));
    bar
}

/// How many rows fall into each tenth.
fn sparkline(counts: &[usize; 10]) -> String {
    let most = counts.iter().max().copied().unwrap_or(0).max(1);
    let level = |count: &usize| match count {
        0 => ' ',
        count => LEVELS[(count * 8).div_ceil(most) - 1],
    };
    counts.iter().map(level).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_share() {
        assert_eq!(bar(0.0), "");
        assert_eq!(bar(1.0).chars().count(), WIDTH);
        assert_eq!(bar(0.5), "█".repeat(WIDTH / 2));
        assert_eq!(bar(1.0 / 256.0), "▏");
        assert_eq!(bar(f64::NAN), "");
    }
}
