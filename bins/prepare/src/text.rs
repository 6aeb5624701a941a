//! What came of it, for people.

use std::fmt::Write as _;

use dolly_data::Row;

use crate::summary::{MaskAudit, SplitSummary, Summary};
use crate::table::Table;

/// Ids to print before the rest is only counted.
const NAMED: usize = 10;
const INDENT: &str = "         ";

pub(crate) fn describe(summary: &Summary) -> String {
    let mut lines: Vec<String> = summary.shown.iter().enumerate().map(show).collect();
    lines.extend(summary.masks.iter().cloned());
    let splits: Vec<&SplitSummary> = summary.split.iter().chain(&summary.folds).collect();
    if lines.is_empty() || !splits.is_empty() {
        lines.extend(came_in(summary));
    }
    for (at, split) in splits.iter().enumerate() {
        if !summary.folds.is_empty() {
            lines.push(format!("fold {}", at + 1));
        }
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
    let head = format!("── {} · id {}{category}\n", place + 1, row.id);
    if !row.messages.is_empty() {
        let turns = row.messages.iter();
        let turns =
            turns.map(|turn| format!("{:<12} {}\n", format!("{}:", turn.role), turn.content));
        return head + &turns.collect::<String>();
    }
    let context = match &row.context {
        Some(context) => format!("\nContext:     {context}"),
        None => String::new(),
    };
    format!(
        "{head}Instruction: {}{context}\nResponse:    {}\n",
        row.instruction, row.response
    )
}

fn came_in(summary: &Summary) -> Vec<String> {
    let mut lines = vec![format!(
        "source   {}: {} rows, {} usable, {} with context",
        summary.origin(),
        summary.rows_read,
        summary.rows_usable,
        summary.with_context
    )];
    if summary.conversations > 0 {
        lines.push(format!("{INDENT}{} conversations", summary.conversations));
    }
    for (reason, count) in &summary.unusable {
        lines.push(format!("{INDENT}{count} with {reason}"));
    }
    lines
}

fn went_out(split: &SplitSummary) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, part) in split.parts() {
        let mut line = format!("{name:<8} {} rows, seed {}", part.rows, split.seed);
        if !part.dropped.is_empty() {
            let _ = write!(
                line,
                " ({} drawn, {} blank and dropped: id {})",
                part.asked,
                part.dropped.len(),
                ids(part.dropped.iter().map(|row| &row.id))
            );
        }
        if !part.dropped_leaks.is_empty() {
            let _ = write!(
                line,
                "; {} left out as leaks: id {}",
                part.dropped_leaks.len(),
                ids(part.dropped_leaks.iter())
            );
        }
        lines.push(line);
    }
    if let Some(audit) = &split.audit {
        lines.push(format!(
            "tokens   {}, at most {} a row",
            audit.model, audit.max_seq_len
        ));
        lines.extend(audit.table().text(INDENT));
        lines.extend(
            audit
                .warnings()
                .into_iter()
                .map(|line| format!("{INDENT}{line}")),
        );
    }
    lines.push(match split.leaks.train_test.rows {
        0 => format!("leaks    none of the {} test rows stands in the training set", split.test.rows),
        n => format!("leaks    {n} of {} test rows, kept and flagged (--drop-leaks leaves out the training rows)", split.test.rows),
    });
    lines.extend(split.leak_table().text(INDENT));
    lines.push(format!("written  {}", split.files.join(", ")));
    lines
}

impl SplitSummary {
    /// What stands where, by its gravest kind.
    pub(crate) fn leak_table(&self) -> Table {
        let mut table = Table::new(&[
            "seen in",
            "rows",
            "exact",
            "same words",
            "near",
            "answer in context",
            "shared context",
        ]);
        let leaks = &self.leaks;
        let val = self.val.is_some();
        let between = [
            ("test rows, in training", &leaks.train_test, true),
            ("val rows, in training", &leaks.train_val, val),
            ("test rows, in validation", &leaks.val_test, val),
        ];
        for (name, counts, _) in between.into_iter().filter(|(.., there)| *there) {
            let numbers = [
                counts.rows,
                counts.exact,
                counts.normalised,
                counts.near,
                counts.answer_in_context,
                counts.shared_context,
            ];
            table.row(cells(name, &numbers));
        }
        let within = [
            ("twice in training", &leaks.train, true),
            ("twice in test", &leaks.test, true),
            ("twice in validation", &leaks.val, val),
        ];
        for (name, counts, _) in within.into_iter().filter(|(.., there)| *there) {
            let numbers = [counts.rows, counts.exact, counts.normalised, counts.near];
            let mut row = cells(name, &numbers);
            row.extend(["-".to_owned(), "-".to_owned()]);
            table.row(row);
        }
        table
    }
}

impl MaskAudit {
    /// Rows and tokens of each part.
    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new(&[
            "part",
            "rows",
            "whole",
            "shortened",
            "cut",
            "dropped",
            "tokens",
            "learnt",
            "median",
            "p95",
            "longest",
        ]);
        for (name, audit) in &self.parts {
            let (rows, lengths) = (&audit.rows, audit.lengths());
            let numbers = [
                rows.kept(),
                rows.whole,
                rows.context_shortened,
                rows.end_cut,
                rows.dropped,
                audit.tokens.all,
                audit.tokens.supervised,
                lengths.p50,
                lengths.p95,
                lengths.max,
            ];
            table.row(cells(name, &numbers));
        }
        table
    }

    /// What a person should look at.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for (name, audit) in &self.parts {
            let rows = |rows: &[chat_prompt::NotedRow]| ids(rows.iter().map(|row| &row.id));
            if !audit.control_strings.is_empty() {
                warnings.push(format!(
                    "{} {name} rows hold control strings, which are encoded as text: id {}",
                    audit.control_strings.len(),
                    rows(&audit.control_strings)
                ));
            }
            if !audit.unencodable.is_empty() {
                warnings.push(format!(
                    "{} {name} rows hold characters that the vocabulary cannot encode, which are lost: id {}",
                    audit.unencodable.len(),
                    rows(&audit.unencodable)
                ));
            }
        }
        warnings
    }
}

fn cells(name: &str, numbers: &[usize]) -> Vec<String> {
    let numbers = numbers.iter().map(usize::to_string);
    std::iter::once(name.to_owned()).chain(numbers).collect()
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
