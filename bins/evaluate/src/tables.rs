//! Groups as tables for other programs.

use stage::StageError;
use textmetrics::Metric;

use crate::groups::Group;

/// One line a group and metric: `group,n,metric,mean,low,high`.
pub(crate) fn csv(groups: &[Group]) -> Result<String, StageError> {
    let mut out = csv::Writer::from_writer(Vec::new());
    out.write_record(["group", "n", "metric", "mean", "low", "high"])
        .map_err(StageError::failed)?;
    for group in groups {
        for metric in Metric::ALL {
            let number = |value: Option<f64>| value.map(|v| v.to_string()).unwrap_or_default();
            let ends = group.intervals.get(metric.name());
            out.write_record([
                group.name.clone(),
                group.metrics.n.to_string(),
                metric.name().to_owned(),
                number(group.metrics.get(metric)),
                number(ends.map(|e| e[0])),
                number(ends.map(|e| e[1])),
            ])
            .map_err(StageError::failed)?;
        }
    }
    let bytes = out
        .into_inner()
        .map_err(|e| StageError::failed(e.to_string()))?;
    String::from_utf8(bytes).map_err(StageError::failed)
}

/// One line a group, one column a metric, with 95 % intervals.
pub(crate) fn markdown(groups: &[Group]) -> String {
    let labels = Metric::ALL.map(Metric::label).join(" | ");
    let rule = "---|".repeat(Metric::ALL.len() + 1);
    let head = format!(
        "| group | n | {labels} | words, prediction / gold | stopped | prompt cut |\n|---|---:|{rule}---|---|\n"
    );
    groups
        .iter()
        .fold(head, |table, group| table + &row(group) + "\n")
}

fn row(group: &Group) -> String {
    let cells = Metric::ALL.map(|metric| {
        let mean = group.metrics.get(metric).unwrap_or(f64::NAN);
        match group.intervals.get(metric.name()) {
            Some([low, high]) => format!("{mean:.4} [{low:.3}, {high:.3}]"),
            None => format!("{mean:.4}"),
        }
    });
    let (name, lengths) = (cell(&group.name), &group.lengths);
    format!(
        "| {name} | {} | {} | {:.1} / {:.1} | {} | {} |",
        group.metrics.n,
        cells.join(" | "),
        lengths.prediction_words,
        lengths.gold_words,
        lengths.stopped.map_or_else(|| "–".into(), percent),
        percent(lengths.truncated),
    )
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

/// A category's name is a text from a file: it must not end the cell, nor be taken for markup.
fn cell(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '\\' | '<' | '>' | '*' | '_' | '`' | '[' | ']' | '&' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
