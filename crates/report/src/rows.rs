//! Every row, folded: the largest changes first.

use maud::{Markup, html};
use textmetrics::RowScore;

use crate::data::ReportRow;
use crate::{diff, format};

/// Filters: id of the radio button, label, and which rows it counts.
type Filter = (&'static str, &'static str, fn(&ReportRow) -> bool);
const FILTERS: [Filter; 6] = [
    ("show-all", "All", |_| true),
    ("show-win", "Won", |row| row.delta() > 0.0),
    ("show-loss", "Lost", |row| row.delta() < 0.0),
    ("show-tie", "Tied", |row| row.delta() == 0.0),
    ("show-flip", "Right ↔ wrong", ReportRow::flipped),
    ("show-short", "Short answers", |row| row.before_score.short),
];

/// The list of rows with its filters.
pub(crate) fn examples(rows: &[ReportRow]) -> Markup {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|&a, &b| rows[b].delta().abs().total_cmp(&rows[a].delta().abs()));
    html! {
        section.examples {
            h2 { "Every row" }
            p { "Largest change first. Marked words are those that the answer shares, in order, with the gold answer." }
            div.filters role="radiogroup" aria-label="Rows to show" {
                @for (i, (id, label, holds)) in FILTERS.iter().enumerate() {
                    @let count = rows.iter().filter(|row| holds(row)).count();
                    span {
                        input type="radio" name="show" id=(id) checked[i == 0];
                        label for=(id) { (label) " " span.num { (count) } }
                    }
                }
            }
            @for i in order { (example(i, &rows[i])) }
        }
    }
}

fn example(index: usize, row: &ReportRow) -> Markup {
    let delta = row.delta();
    let outcome = match format::direction(delta) {
        "up" => "win",
        "down" => "loss",
        _ => "tie",
    };
    html! {
        details id={ "row-" (index + 1) } class={ "card row " (outcome) @if row.before_score.short { " short" } @if row.flipped() { " flip" } } {
            summary {
                span.chip.d { (format::signed(delta, 3)) }
                span.q { (row.instruction) }
                span.f { "F1 " (format!("{:.3} → {:.3}", row.before_score.f1, row.after_score.f1)) }
            }
            div.body {
                @if let Some(context) = row.context.as_deref().filter(|c| !c.trim().is_empty()) {
                    details.context { summary { "Context" } div.text { (context) } }
                }
                div.texts {
                    div { h4 { "Gold" } (text(&row.gold)) div.scores { span.chip { (row.before_score.gold_tokens) " words" } } }
                    div { h4 { "Before" } (matched(&row.gold, &row.before)) (scores(&row.before_score)) }
                    div { h4 { "After" } (matched(&row.gold, &row.after)) (scores(&row.after_score)) }
                }
                div.scores {
                    span.chip { "row " (index + 1) }
                    @if let Some(id) = &row.id { span.chip { "id " (id) } }
                }
            }
        }
    }
}

fn text(text: &str) -> Markup {
    html! { @if text.trim().is_empty() { div.text.empty { "(empty)" } } @else { div.text { (text) } } }
}

fn matched(gold: &str, prediction: &str) -> Markup {
    if prediction.trim().is_empty() {
        return text(prediction);
    }
    html! {
        div.text {
            @for piece in diff::against(gold, prediction) {
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
