//! The rows: controls and an empty list for the page's script, and for readers without it the
//! largest changes as plain HTML.

use maud::{Markup, PreEscaped, html};
use textmetrics::RowScore;

use crate::data::ReportRow;
use crate::{embed, format, marks};

/// Rows that stand in the page as plain HTML.
const STATIC_ROWS: usize = 50;
/// Characters of a context in those rows; the whole of it is stored once, with the data.
const STATIC_CONTEXT: usize = 600;

/// A choice: value, label, and which rows it counts.
type Choice = (&'static str, &'static str, fn(&ReportRow) -> bool);
const OUTCOMES: [Choice; 5] = [
    ("all", "All", |_| true),
    ("win", "Better", |row| row.delta() > 0.0),
    ("loss", "Worse", |row| row.delta() < 0.0),
    ("tie", "Tied", |row| row.delta() == 0.0),
    ("flip", "Right ↔ wrong", ReportRow::flipped),
];
const FLAGS: [Choice; 3] = [
    ("short", "Short gold", |row| row.before_score.short),
    ("truncated", "Truncated prompt", |row| row.truncated),
    ("nostop", "No stop", ReportRow::no_stop),
];

/// The section of the rows.
pub(crate) fn examples(rows: &[ReportRow]) -> Markup {
    html! {
        section.examples {
            h2 { "Every row" }
            div #browse hidden {
                p { "Underlined words are those that ROUGE-L finds in the gold answer, in order. Among differences, struck-out words are only in the gold answer, boxed ones only in the system's. Keys: " kbd { "j" } " " kbd { "k" } " next and previous row, " kbd { "Enter" } " fold, " kbd { "/" } " search, " kbd { "d" } " differences." }
                (controls(rows))
                div #list role="list" aria-label="Rows" {}
                p #none hidden { "No row fits these filters." }
            }
            noscript { (static_rows(rows)) }
            script type="application/json" id="data" { (PreEscaped(embed::rows(rows))) }
        }
    }
}

fn controls(rows: &[ReportRow]) -> Markup {
    let count = |holds: fn(&ReportRow) -> bool| rows.iter().filter(|row| holds(row)).count();
    let categories = embed::categories(rows);
    html! {
        form #controls.controls autocomplete="off" {
            fieldset.pills {
                legend { "Rows to show" }
                @for (value, label, holds) in OUTCOMES {
                    span { input type="radio" name="show" id={ "show-" (value) } value=(value) checked[value == "all"];
                        label for={ "show-" (value) } { (label) " " span.num { (count(holds)) } } }
                }
                @for (name, label, holds) in FLAGS {
                    @let n = count(holds);
                    span { input type="checkbox" name=(name) id={ "only-" (name) } disabled[n == 0];
                        label for={ "only-" (name) } { (label) " " span.num { (n) } } }
                }
            }
            div.fields {
                label.grow { span { "Search" } input type="search" name="search" placeholder="in questions, contexts and answers"; }
                @if !categories.is_empty() {
                    label { span { "Category" } (category_choice(rows, &categories)) }
                }
                label { span { "Order" } select name="sort" {
                    option value="change" { "Largest change" } option value="best" { "Best first" }
                    option value="worst" { "Worst first" } option value="file" { "As in the file" }
                } }
                label { span { "Marks" } select name="marks" {
                    option value="shared" { "Shared words" } option value="diff" { "Differences from gold" }
                } }
                output #count aria-live="polite" {}
            }
        }
    }
}

/// Options numbered as in the embedded data: in the order in which the rows name them.
fn category_choice(rows: &[ReportRow], categories: &[(&str, usize)]) -> Markup {
    let mut order: Vec<&str> = Vec::new();
    for name in rows.iter().filter_map(|row| row.category.as_deref()) {
        if !order.contains(&name) {
            order.push(name);
        }
    }
    html! {
        select name="category" {
            option value="" { "All" }
            @for (name, count) in categories {
                option value=[order.iter().position(|n| n == name)] { (name) " (" (count) ")" }
            }
        }
    }
}

/// The largest changes, for a reader without scripts.
fn static_rows(rows: &[ReportRow]) -> Markup {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|&a, &b| rows[b].delta().abs().total_cmp(&rows[a].delta().abs()));
    let names = embed::anchors(rows);
    html! {
        p {
            "Largest change first; marked words are those that the answer shares, in order, with the gold answer."
            @if rows.len() > STATIC_ROWS {
                " These are " (STATIC_ROWS) " of " (rows.len()) " rows: allow this page its script to see, filter and search all of them; they are in this file."
            }
        }
        @for i in order.into_iter().take(STATIC_ROWS) { (static_row(i, &names[i], &rows[i])) }
    }
}

fn static_row(index: usize, name: &str, row: &ReportRow) -> Markup {
    let delta = row.delta();
    let outcome = match format::direction(delta) {
        "up" => "win",
        "down" => "loss",
        _ => "tie",
    };
    html! {
        details id={ "row-" (name) } class={ "card row " (outcome) } {
            summary.head {
                span.chip.d { (format::signed(delta, 3)) }
                span.q dir="auto" { (row.instruction) }
                span.f { "F1 " (format!("{:.3} → {:.3}", row.before_score.f1, row.after_score.f1)) }
            }
            div.body {
                @if let Some(context) = embed::context(row) { (static_context(context)) }
                div.texts {
                    section { h4 { "Gold" } (text(&row.gold)) }
                    section { h4 { "Before" } (matched(&row.gold, &row.before)) (scores(&row.before_score)) }
                    section { h4 { "After" } (matched(&row.gold, &row.after)) (scores(&row.after_score)) }
                }
                div.scores {
                    span.chip { "row " (index + 1) }
                    @if let Some(category) = &row.category { span.chip { (category) } }
                    @if row.truncated { span.chip { "prompt truncated" } }
                    @if row.no_stop() { span.chip { "no stop" } }
                }
            }
        }
    }
}

fn static_context(context: &str) -> Markup {
    let cut = context.char_indices().nth(STATIC_CONTEXT);
    let start = cut.map_or(context, |(at, _)| &context[..at]);
    html! {
        details.context { summary { "Context" } div.text dir="auto" { (start) @if cut.is_some() { " …" } } }
    }
}

fn text(text: &str) -> Markup {
    html! { @if text.trim().is_empty() { div.text.empty { "(empty)" } } @else { div.text dir="auto" { (text) } } }
}

fn matched(gold: &str, prediction: &str) -> Markup {
    if prediction.trim().is_empty() {
        return text(prediction);
    }
    let words = marks::words(prediction);
    let (_, shared) = marks::common(&marks::words(gold), &words);
    html! {
        div.text dir="auto" {
            @for piece in marks::pieces(prediction, &words, &shared) {
                @if piece.matched { mark { (piece.text) } } @else { (piece.text) }
            }
        }
    }
}

fn scores(score: &RowScore) -> Markup {
    html! {
        div.scores {
            span.chip { "F1 " (format!("{:.3}", score.f1)) }
            span.chip { "R-Lsum " (format!("{:.3}", score.rouge.rouge_lsum.f)) }
            @if score.em { span.chip { "exact" } }
            @if score.relaxed { span.chip { "relaxed" } }
        }
    }
}
