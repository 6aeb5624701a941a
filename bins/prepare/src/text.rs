//! What came of it, for people.

use dolly_data::{LeakKind, Row};

use crate::summary::{OverlapSummary, PartSummary, SplitSummary, Summary};

/// Ids to print before the rest is only counted.
const NAMED: usize = 10;

pub(crate) fn describe(summary: &Summary) -> String {
    let mut lines: Vec<String> = summary.shown.iter().enumerate().map(show).collect();
    if lines.is_empty() || summary.split.is_some() {
        lines.extend(came_in(summary));
    }
    if let Some(split) = &summary.split {
        lines.extend(went_out(split));
    }
    lines.extend(summary.notes.iter().map(|note| format!("note     {note}")));
    lines.join("\n")
}

fn show((place, row): (usize, &Row)) -> String {
    let category = match row.category.as_str() {
        "" => String::new(),
        category => format!(" · {category}"),
    };
    let context = match &row.context {
        Some(context) => format!("\nContext:     {context}"),
        None => String::new(),
    };
    format!(
        "── {} · id {}{category}\nInstruction: {}{context}\nResponse:    {}\n",
        place + 1,
        row.id,
        row.instruction,
        row.response
    )
}

fn came_in(summary: &Summary) -> Vec<String> {
    let origin = summary.hub.as_ref().map_or_else(
        || summary.source.clone(),
        |hub| format!("{} {} at {}", hub.id, hub.file, hub.commit),
    );
    let mut lines = vec![format!(
        "source   {origin} ({}): {} rows, {} usable, {} with context",
        summary.format, summary.rows_read, summary.rows_usable, summary.with_context
    )];
    for (reason, count) in &summary.unusable {
        lines.push(format!("         {count} with {reason}"));
    }
    lines
}

fn went_out(split: &SplitSummary) -> Vec<String> {
    let mut lines = vec![
        part("test", &split.test, split.seed),
        part("train", &split.train, split.seed),
        leaks(&split.overlaps, split.test.rows),
    ];
    for row in split.overlaps.rows.iter().take(NAMED) {
        let kind = match row.kind {
            LeakKind::Exact => "the same question as",
            LeakKind::Normalised => "the same words as",
            _ => "the same context as",
        };
        lines.push(format!(
            "         test row {}: {kind} training row {}",
            row.test_id,
            ids(row.train_ids.iter())
        ));
    }
    lines.push(format!("written  {}", split.files.join(", ")));
    lines
}

fn part(name: &str, part: &PartSummary, seed: u64) -> String {
    let line = format!("{name:<8} {} rows, seed {seed}", part.rows);
    if part.dropped.is_empty() {
        return line;
    }
    format!(
        "{line} ({} drawn, {} blank and dropped: id {})",
        part.asked,
        part.dropped.len(),
        ids(part.dropped.iter().map(|row| &row.id))
    )
}

fn leaks(overlaps: &OverlapSummary, test: usize) -> String {
    if overlaps.rows.is_empty() {
        return format!("leaks    none of the {test} test rows stands in the training set");
    }
    format!(
        "leaks    {} of {test} test rows (kept): {} exact, {} in other spelling, {} by context",
        overlaps.rows.len(),
        overlaps.exact,
        overlaps.normalised,
        overlaps.shared_context
    )
}

fn ids<'a>(ids: impl ExactSizeIterator<Item = &'a String>) -> String {
    let more = ids.len().saturating_sub(NAMED);
    let named: Vec<&str> = ids.take(NAMED).map(String::as_str).collect();
    let named = named.join(", ");
    match more {
        0 => named,
        _ => format!("{named} and {more} more"),
    }
}
