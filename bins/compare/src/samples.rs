//! A few rows side by side.

use std::fmt::Write as _;

use report::ReportRow;

use crate::Comparison;

/// Up to `count` rows whose answers differ, the largest change of token F1 first.
pub fn samples(comparison: &Comparison, count: usize) -> String {
    let mut rows: Vec<(usize, &ReportRow)> = comparison
        .rows
        .iter()
        .enumerate()
        .filter(|(_, row)| row.before != row.after)
        .collect();
    let differ = rows.len();
    rows.sort_by(|(_, a), (_, b)| b.delta().abs().total_cmp(&a.delta().abs()));
    rows.truncate(count);
    let mut out = format!(
        "\n{} of {differ} rows with different answers (of {} rows)",
        rows.len(),
        comparison.rows.len()
    );
    for (index, row) in rows {
        let _ = write!(out, "\n\n── row {} ", index + 1);
        if let Some(id) = &row.id {
            let _ = write!(out, "(id {id}) ");
        }
        let _ = write!(
            out,
            "── F1 {:.3} → {:.3} ({:+.3})",
            row.before_score.f1,
            row.after_score.f1,
            row.delta()
        );
        text(&mut out, "question", &row.instruction);
        if let Some(context) = &row.context {
            text(&mut out, "context", &shortened(context));
        }
        text(&mut out, "gold", &row.gold);
        text(&mut out, "before", &row.before);
        text(&mut out, "after", &row.after);
    }
    out
}

/// A labelled text, its further lines indented below the first.
fn text(out: &mut String, label: &str, text: &str) {
    let text = if text.trim().is_empty() {
        "(empty)"
    } else {
        text.trim()
    };
    let _ = write!(
        out,
        "\n{label:>9}: {}",
        printable(text).replace('\n', "\n           ")
    );
}

/// Model text must not steer the terminal: control characters other than line ends are shown.
fn printable(text: &str) -> String {
    let visible = |c: char| {
        if c.is_control() && c != '\n' {
            '\u{fffd}'
        } else {
            c
        }
    };
    text.replace('\t', "    ").chars().map(visible).collect()
}

fn shortened(context: &str) -> String {
    const MOST: usize = 300;
    let short: String = context.chars().take(MOST).collect();
    if short.len() < context.len() {
        short + "…"
    } else {
        short
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\n\tc"), "a\u{fffd}[2Jb\n    c");
    }

    #[test]
    fn long_contexts_are_shortened_between_characters() {
        let long = "é".repeat(301);
        assert_eq!(shortened(&long).chars().count(), 301);
        assert!(shortened(&long).ends_with('…'));
    }
}
