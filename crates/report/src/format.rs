//! Numbers as people read them.

use textmetrics::Metric;
use textmetrics::stats::MetricComparison;

/// A score with four decimals.
pub(crate) fn score(value: f64) -> String {
    format!("{value:.4}")
}

/// A difference with its sign, a true minus sign included.
pub(crate) fn signed(value: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", value.abs());
    let zero = text.chars().all(|c| c == '0' || c == '.');
    match value {
        _ if zero => text,
        v if v < 0.0 => format!("\u{2212}{text}"),
        _ => format!("+{text}"),
    }
}

/// A number of rows.
pub(crate) fn rows(n: usize) -> String {
    match n {
        1 => "1 row".into(),
        n => format!("{n} rows"),
    }
}

/// A p-value with four decimals.
pub(crate) fn p(value: f64) -> String {
    if value < 0.0001 {
        "<0.0001".into()
    } else {
        format!("{value:.4}")
    }
}

/// An interval, or a dash where there is none.
pub(crate) fn interval(metric: &MetricComparison) -> String {
    metric.ci.map_or_else(
        || "–".into(),
        |ci| format!("{} to {}", signed(ci.lo, 4), signed(ci.hi, 4)),
    )
}

/// What a person calls the metric of that name.
pub(crate) fn label(name: &str) -> &str {
    Metric::ALL
        .iter()
        .find(|m| m.name() == name)
        .map_or(name, |m| m.label())
}

/// The same without what the page says once for all (stemmed, F).
pub(crate) fn short_label(name: &str) -> &str {
    let label = label(name);
    label.split_once(" (").map_or(label, |(short, _)| short)
}

/// `up`, `down` or `tie`: the class that colours a difference. One that is printed as 0.0000 has no direction.
pub(crate) fn direction(delta: f64) -> &'static str {
    match delta {
        d if d >= 0.000_05 => "up",
        d if d <= -0.000_05 => "down",
        _ => "tie",
    }
}

/// A number for an SVG coordinate: short, never `NaN`.
pub(crate) fn at(value: f64) -> String {
    let text = format!("{:.1}", if value.is_finite() { value } else { 0.0 });
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(signed(-0.01234, 4), "\u{2212}0.0123");
        assert_eq!(
            (signed(0.5, 2).as_str(), signed(-0.000_001, 3).as_str()),
            ("+0.50", "0.000")
        );
        assert_eq!(
            [0.000_06, 0.000_04, -0.000_04, -0.000_06].map(direction),
            ["up", "tie", "tie", "down"]
        );
        assert_eq!(
            (p(0.0625).as_str(), p(0.000_01).as_str()),
            ("0.0625", "<0.0001")
        );
        assert_eq!(
            (at(3.0).as_str(), at(f64::NAN).as_str(), at(1.26).as_str()),
            ("3", "0", "1.3")
        );
    }
}
