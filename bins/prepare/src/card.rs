//! `DATA.md`: what a person who is handed the folder wants to know.

use std::fmt::Write as _;

use crate::summary::{Part, SplitSummary, Summary};
use crate::table::Table;

/// The data card of a split, in Markdown.
pub(crate) fn card(summary: &Summary, split: &SplitSummary, command: &str) -> String {
    let mut out = String::from("# Data card\n\n");
    let _ = writeln!(
        out,
        "Made by smoltune {} with\n\n```\n{command}\n```\n\nThe same command on the same source gives the same bytes; `manifest.json` has the SHA-256 of the source and of every file here.\n",
        env!("CARGO_PKG_VERSION")
    );
    source(&mut out, summary);
    parts(&mut out, split);
    categories(&mut out, summary);
    leaks(&mut out, split);
    audit(&mut out, split);
    out
}

fn source(out: &mut String, summary: &Summary) {
    let _ = writeln!(out, "## Source\n\n- {}", summary.origin());
    let _ = writeln!(
        out,
        "- {} rows, {} usable, {} with a context, {} conversations",
        summary.rows_read, summary.rows_usable, summary.with_context, summary.conversations
    );
    let _ = writeln!(out, "- view: {}", summary.view);
    for (reason, count) in &summary.unusable {
        let _ = writeln!(out, "- {count} left out: {reason}");
    }
    if summary.repeated_ids > 0 {
        let _ = writeln!(out, "- {} ids occur more than once", summary.repeated_ids);
    }
    out.push_str(
        "\nThe licence is that of the source. Dolly and its curated edition are CC BY-SA 3.0.\n\n",
    );
}

fn parts(out: &mut String, split: &SplitSummary) {
    let _ = writeln!(out, "## Split\n\nSeed {}; {}.\n", split.seed, split.rule);
    let mut table = Table::new(&["part", "drawn", "blank", "leaks left out", "rows"]);
    for (name, part) in split.parts() {
        let Part {
            asked,
            dropped,
            dropped_leaks,
            rows,
            ..
        } = part;
        let cells = [*asked, dropped.len(), dropped_leaks.len(), *rows].map(|n| n.to_string());
        table.row([vec![name.to_owned()], cells.to_vec()].concat());
    }
    let _ = writeln!(out, "{}", table.markdown());
}

fn categories(out: &mut String, summary: &Summary) {
    if summary.categories.len() < 2 {
        return;
    }
    let mut table = Table::new(&["category", "usable rows"]);
    for (name, count) in &summary.categories {
        let name = if name.is_empty() { "(none)" } else { name };
        table.row(vec![name.to_owned(), count.to_string()]);
    }
    let _ = writeln!(out, "## Categories\n\n{}", table.markdown());
}

fn leaks(out: &mut String, split: &SplitSummary) {
    let _ = writeln!(
        out,
        "## Leakage and duplicates\n\nNear means: at least {:.0} % of the word 5-grams are the same. `leaks.json` names every row; test and validation rows that training has seen carry the flag `leak`.\n\n{}",
        100.0 * split.near_threshold,
        split.leak_table().markdown()
    );
}

fn audit(out: &mut String, split: &SplitSummary) {
    let Some(audit) = &split.audit else {
        out.push_str("## Tokens\n\nNot counted: no --model was given.\n");
        return;
    };
    let _ = writeln!(
        out,
        "## Tokens\n\nWith the tokenizer and template of {}, at most {} tokens a row. Every row was encoded; its prompt is a prefix of it, its end of turn is learnt, and no control token comes from its text.\n\n{}",
        audit.model,
        audit.max_seq_len,
        audit.table().markdown()
    );
}
