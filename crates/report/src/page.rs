//! The page as a whole: what comes in which order.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use textmetrics::stats::{PairedComparison, Verdict};

use crate::data::{Provenance, ReportData, ReportRow};
use crate::{elsewhere, embed, figures, format, rows, table};

const STYLE: &str = include_str!("style.css");

/// The whole report as one self-contained HTML document.
pub fn render(data: &ReportData) -> String {
    document(&data.title, &body(data), Some(embed::SCRIPT))
}

/// A page with our style sheet, and with our script if it needs one.
pub(crate) fn document(title: &str, body: &Markup, script: Option<&str>) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(embed::policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { main { (body) } @if let Some(script) = script { script { (PreEscaped(script)) } } }
        }
    }
    .into_string()
}

fn body(data: &ReportData) -> Markup {
    let all = &data.comparison.all;
    html! {
        (header(data))
        (tiles(data))
        section {
            h2 { "All metrics, all rows" }
            p { (format::rows(all.n)) ", each answered by both systems. An interval that leaves out 0 on its own is no proof: the verdict goes by the p-value adjusted for looking at " (all.metrics.len()) " metrics." }
            (table::metrics(all))
            (figures::forest(all, &data.noise_floor))
        }
        (short(data.comparison.short.as_ref(), data.score_options.short_thresh, all.n))
        section {
            h2 { "Row by row" }
            p { "Where the difference comes from, by token F1: a few large changes, or many small ones?" }
            div.pair { (figures::waterfall(&data.rows)) (figures::scatter(&data.rows)) }
            (figures::categories(&data.rows))
            div.halves {
                (figures::histogram(&data.rows)) (figures::lengths(&data.rows))
                (figures::matched(all, &data.length_control))
            }
        }
        @if let Some(moved) = &data.elsewhere { (elsewhere::section(moved)) }
        @if !data.training.is_empty() {
            section {
                h2 { "Training" }
                p { "The loss on the way from one to the other." }
                (figures::training(&data.training))
                (figures::learning_rate(&data.training))
            }
        }
        (rows::examples(&data.rows))
        (provenance(&data.provenance))
        (method(data))
    }
}

fn header(data: &ReportData) -> Markup {
    let (class, word) = headline(data);
    let all_rows = &data.comparison.all;
    html! {
        header {
            h1 { (data.title) }
            dl.systems {
                dt { "before" } dd { (data.before) }
                dt { "after" } dd { (data.after) }
            }
            div class={ "card verdict " (class) } {
                strong { (word) }
                @if data.identical {
                    p { "Every prediction is the same, character for character." }
                } @else {
                    p { (sentence(all_rows)) }
                }
                @for note in &data.notes { p.soft { (note) } }
            }
        }
    }
}

/// Class and headline of the overall verdict.
fn headline(data: &ReportData) -> (&'static str, &'static str) {
    if data.identical {
        return ("same", "Identical");
    }
    match data.comparison.all.verdict {
        Verdict::Better => ("better", "Better"),
        Verdict::Worse => ("worse", "Worse"),
        Verdict::Mixed => ("mixed", "Better and worse"),
        Verdict::Same => ("same", "The same scores"),
        Verdict::NoDifference => ("same", "No difference that matters"),
        Verdict::CannotTell => ("same", "Cannot tell"),
    }
}

/// The verdict in a sentence, with the names that people read.
fn sentence(comparison: &PairedComparison) -> String {
    let named = |verdict: Verdict| {
        let of = comparison.metrics.iter().filter(|m| m.verdict == verdict);
        of.map(|m| format::short_label(&m.name))
            .collect::<Vec<_>>()
            .join(", ")
    };
    match comparison.verdict {
        verdict @ (Verdict::Better | Verdict::Worse) => format!(
            "The second system is {verdict} than the first in {}.",
            named(verdict)
        ),
        Verdict::Mixed => format!(
            "The second system is better than the first in {}, and worse in {}.",
            named(Verdict::Better),
            named(Verdict::Worse)
        ),
        _ => {
            let mut says = comparison.says.clone() + ".";
            if let Some(first) = says.get_mut(..1) {
                first.make_ascii_uppercase();
            }
            says
        }
    }
}

fn tiles(data: &ReportData) -> Markup {
    let sign = |row: &&ReportRow| row.delta();
    let wins = data.rows.iter().filter(|row| sign(row) > 0.0).count();
    let losses = data.rows.iter().filter(|row| sign(row) < 0.0).count();
    html! {
        div.tiles {
            @for name in ["f1", "rouge_lsum", "em"] {
                @if let Some(metric) = data.comparison.all.metric(name) {
                    div.card.tile {
                        span { (format::label(name)) }
                        b class=(format::direction(metric.delta)) { (format::signed(metric.delta, 4)) }
                        small { (format::score(metric.before)) " → " (format::score(metric.after)) }
                    }
                }
            }
            div.card.tile {
                span { "Rows won, tied, lost" }
                b { (wins) " · " (data.rows.len() - wins - losses) " · " (losses) }
                small { "by token F1" }
            }
            @if let Some(moved) = &data.elsewhere { (elsewhere::tile(moved)) }
        }
    }
}

fn short(comparison: Option<&PairedComparison>, threshold: usize, all: usize) -> Markup {
    html! {
        @if let Some(short) = comparison.filter(|short| short.n < all) {
            section {
                h2 { "Short answers only" }
                p { "Only the gold answers of at most " (threshold) " words (" (format::rows(short.n)) "), adjusted among themselves. " (sentence(short)) }
                (table::metrics(short))
            }
        }
    }
}

pub(crate) fn provenance(blocks: &[Provenance]) -> Markup {
    html! {
        @if !blocks.is_empty() {
            section {
                h2 { "Where this comes from" }
                div.prov {
                    @for block in blocks {
                        section.card {
                            h3 { (block.title) }
                            dl { @for (name, value) in &block.facts { dt { (name) } dd { (value) } } }
                        }
                    }
                }
            }
        }
    }
}

fn method(data: &ReportData) -> Markup {
    let options = &data.options;
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    html! {
        section {
            h2 { "How to read this" }
            ul.notes {
                li { "Tests look at each row's difference, not at two averages. Yes/no metrics: exact McNemar test. Means: sign-flip permutation test, exact while few rows changed, else " (options.resamples) " seeded samples (seed " (options.seed) "). Ties count against a finding." }
                li { "Intervals hold " (percent(1.0 - options.alpha)) ": Newcombe's paired score interval for yes/no metrics, bootstrap-t for means up to 500 rows, Student t above." }
                li { "“Adjusted p” is Holm's: the chance of any false finding among all metrics of the table is at most " (percent(options.alpha)) "." }
                li { "“Cannot tell” is an answer: so few rows that even a true difference of " (options.effect) " would be missed more often than one time in five." }
                li { "ROUGE-Lsum is what the original evaluator printed as “ROUGE-L”; both are here, with the Porter stemmer. Accuracy at ROUGE counts rows of at least " (data.score_options.rouge_thresh) "." }
            }
        }
    }
}
