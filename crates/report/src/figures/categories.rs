//! Who won, tied and lost, by kind of question.

use std::collections::BTreeMap;

use maud::{Markup, html};

use crate::data::ReportRow;
use crate::format::{self, at};

/// Rows won, tied and lost, in the order of the bar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts([usize; 3]);

impl Counts {
    fn total(self) -> usize {
        self.0.iter().sum()
    }
}

/// One bar a category, all rows on top; nothing where rows have no category.
pub(crate) fn categories(rows: &[ReportRow]) -> Markup {
    let counted = counts(rows);
    if counted.len() < 2 {
        return html! {};
    }
    let (from, to, line) = (230.0, 880.0, 30.0);
    let height = line * counted.len() as f64 + 8.0;
    html! {
        figure.card {
            h3 { "Rows won, tied and lost, by category" }
            svg viewBox={ "0 0 1000 " (at(height)) } role="img" aria-label="Rows won, tied and lost by category" {
                @for (i, (name, counts)) in counted.iter().enumerate() {
                    @let top = line * i as f64 + 6.0;
                    text.name x="222" y=(at(top + 14.0)) text-anchor="end" { (shortened(name)) }
                    @for (class, x, width) in segments(*counts, from, to) {
                        rect class={ "f-" (class) } x=(at(x)) y=(at(top)) width=(at(width)) height="20" {}
                    }
                    text.val x="890" y=(at(top + 14.0)) { (counts.0[0]) " · " (counts.0[1]) " · " (counts.0[2]) }
                }
            }
            figcaption { "By token F1: won (blue, left), tied (grey), lost (orange, right), and how many of each." }
        }
    }
}

/// All rows first, then categories, the largest first.
fn counts(rows: &[ReportRow]) -> Vec<(&str, Counts)> {
    let mut by_name: BTreeMap<&str, Counts> = BTreeMap::new();
    let mut all = Counts::default();
    for row in rows {
        let place = match format::direction(row.delta()) {
            "up" => 0,
            "tie" => 1,
            _ => 2,
        };
        all.0[place] += 1;
        if let Some(name) = &row.category {
            by_name.entry(name).or_default().0[place] += 1;
        }
    }
    let mut sorted: Vec<_> = by_name.into_iter().collect();
    sorted.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.total()));
    std::iter::once(("all rows", all)).chain(sorted).collect()
}

/// Class, left end and width of each part of a bar.
fn segments(counts: Counts, from: f64, to: f64) -> Vec<(&'static str, f64, f64)> {
    let scale = (to - from) / counts.total().max(1) as f64;
    let mut x = from;
    ["up", "tie", "down"]
        .into_iter()
        .zip(counts.0)
        .map(|(class, count)| {
            let width = count as f64 * scale;
            x += width;
            (class, x - width, width)
        })
        .filter(|(_, _, width)| *width > 0.0)
        .collect()
}

fn shortened(name: &str) -> String {
    const MOST: usize = 28;
    if name.chars().count() <= MOST {
        return name.to_owned();
    }
    name.chars().take(MOST - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_rows() {
        let parts = segments(Counts([1, 0, 3]), 0.0, 100.0);
        assert_eq!(parts, [("up", 0.0, 25.0), ("down", 25.0, 75.0)]);
        assert!(segments(Counts::default(), 0.0, 100.0).is_empty());
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(shortened(&"ü".repeat(40)).chars().count(), 28);
        assert_eq!(shortened("closed_qa"), "closed_qa");
    }
}
