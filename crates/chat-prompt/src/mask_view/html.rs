//! Rows as a page for the browser.

use std::fmt::Write as _;

use super::{Cell, cells, headline, visible};
use crate::error::Result;
use crate::prompter::Prompter;
use crate::row::TrainingRow;

/// Nothing is loaded from elsewhere and nothing runs.
const HEAD: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Label masks</title>
<style>
:root { color-scheme: light dark; --text: #1b1b1f; --back: #fff; --line: #8a8a94; --learnt: #c9f0cf; --control: #7a1fa2; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e8e8ec; --back: #17171b; --line: #85858f; --learnt: #1d4d2a; --control: #e0a8f5; }
}
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: var(--text); background: var(--back); font: 1rem/1.6 system-ui, sans-serif; }
h2 { font-size: 1.1rem; margin: 2rem 0 0; overflow-wrap: anywhere; }
.row { white-space: pre-wrap; overflow-wrap: anywhere; font: 0.95rem/1.9 ui-monospace, monospace; }
.row span, .row b { border-left: 1px solid var(--line); padding-left: 1px; }
mark { color: inherit; background: var(--learnt); padding: 0.15em 0; }
mark::before { content: "⟦"; }
mark::after { content: "⟧"; }
b { color: var(--control); }
</style>
</head>
<body>
<main>
<h1>Label masks</h1>
<p>What is learnt is <mark>marked</mark>, in brackets; all else is only read. Control tokens are <b>bold</b>: only the template writes them. A thin line begins each token, ⏎ is a line break; point at a token for its position and id.</p>
"#;
const FOOT: &str = "</main>\n</body>\n</html>\n";

/// A page of rows, each under a title (its id, say): whole in one file, for light and dark screens,
/// and readable without colours.
///
/// # Errors
/// If the tokenizer fails to decode.
pub fn mask_html<'r>(
    prompter: &Prompter,
    rows: impl IntoIterator<Item = (&'r str, &'r TrainingRow)>,
) -> Result<String> {
    let mut out = HEAD.to_owned();
    for (title, row) in rows {
        let (title, headline) = (escape(&visible(title)), headline(row));
        let _ = write!(
            out,
            "<section>\n<h2>{title}</h2>\n<p>{headline}</p>\n<div class=\"row\">"
        );
        let mut learnt = false;
        for cell in cells(prompter, row)? {
            if learnt && (cell.begins || !cell.learnt) {
                out += "</mark>";
            }
            if cell.learnt && (cell.begins || !learnt) {
                out += "<mark>";
            }
            learnt = cell.learnt;
            token(&mut out, &cell, row);
        }
        out += if learnt { "</mark>" } else { "" };
        out += "</div>\n</section>\n";
    }
    Ok(out + FOOT)
}

fn token(out: &mut String, cell: &Cell, row: &TrainingRow) {
    let tag = if cell.control { "b" } else { "span" };
    let ids = row.ids.get(cell.at.clone()).unwrap_or_default();
    let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
    let text = escape(&visible(&cell.text)).replace('⏎', "⏎\n");
    let (at, ids) = (cell.at.start, ids.join(" "));
    let _ = write!(out, "<{tag} title=\"{at}: {ids}\">{text}</{tag}>");
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
