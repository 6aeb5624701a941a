//! The page of a sweep: recipes, best first, with the spread over their seeds.

use maud::{Markup, html};

use crate::data::Provenance;
use crate::figures::Axis;
use crate::format::{self, at};
use crate::page;

/// Everything that [`render_sweep`] shows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SweepData {
    /// Title of the page.
    pub title: String,
    /// What recipes are ranked by, in words.
    pub metric: String,
    /// Whether a lower score is the better one.
    pub lower_is_better: bool,
    /// The seeds that every recipe was trained with.
    pub seeds: Vec<u64>,
    /// One a recipe, best first.
    pub rows: Vec<SweepRow>,
    /// The winner's scores on the test rows, if it was scored there.
    pub test: Vec<SweepTest>,
    /// Where everything came from, in blocks.
    pub provenance: Vec<Provenance>,
    /// Remarks that a reader must see.
    pub notes: Vec<String>,
}

/// One recipe.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SweepRow {
    /// What distinguishes it.
    pub settings: String,
    /// Its score with each seed.
    pub scores: Vec<f64>,
    /// Their mean.
    pub mean: f64,
    /// The interval of the mean over seeds; `None` with one seed.
    pub interval: Option<(f64, f64)>,
    /// Mean over seeds of its score minus that of the best recipe; `None` for the best itself.
    pub behind: Option<f64>,
    /// The interval of that.
    pub behind_interval: Option<(f64, f64)>,
}

/// One metric of the winner on the test rows, against the model as it was.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SweepTest {
    /// Name of the metric.
    pub metric: String,
    /// Score of the model as it was.
    pub before: f64,
    /// Score of the winner, the mean over its seeds.
    pub after: f64,
    /// The interval of the difference.
    pub interval: Option<(f64, f64)>,
    /// What can be said, in words.
    pub verdict: String,
}

/// The page as one self-contained HTML document, without any script.
///
/// ```
/// use report::{SweepData, SweepRow, render_sweep};
///
/// let row = |settings: &str, scores: [f64; 2]| SweepRow {
///     settings: settings.into(),
///     mean: (scores[0] + scores[1]) / 2.0,
///     scores: scores.into(),
///     ..SweepRow::default()
/// };
/// let page = render_sweep(&SweepData {
///     title: "Learning rates".into(),
///     metric: "validation loss".into(),
///     lower_is_better: true,
///     seeds: vec![1, 2],
///     rows: vec![row("lr=2e-4", [1.5, 1.6]), row("lr=<1e-4>", [1.8, 1.7])],
///     ..SweepData::default()
/// });
/// assert!(page.starts_with("<!DOCTYPE html>") && page.contains("lr=&lt;1e-4&gt;"));
/// ```
pub fn render_sweep(data: &SweepData) -> String {
    page::document(&data.title, &body(data), None)
}

fn body(data: &SweepData) -> Markup {
    html! {
        (header(data))
        section {
            h2 { "All recipes" }
            p { (order(data)) }
            div.card.scroll { (table(data)) }
            figure.card {
                h3 { "Seeds and means" }
                div.wide { (draw(data, 1000.0)) }
                div.narrow { (draw(data, 360.0)) }
                figcaption { "A small dot is one seed, the large one the mean over seeds, the line its interval." }
            }
        }
        @if !data.test.is_empty() { (test(&data.test)) }
        (page::provenance(&data.provenance))
        (method())
    }
}

fn header(data: &SweepData) -> Markup {
    html! {
        header {
            h1 { (data.title) }
            div.card.verdict {
                @if let Some(best) = data.rows.first() {
                    strong { (best.settings) }
                    p { "the best of " (data.rows.len()) " by mean " (data.metric) ": " (format::score(best.mean)) (after(best.interval)) }
                }
                @for note in &data.notes { p.soft { (note) } }
            }
        }
    }
}

fn after(interval: Option<(f64, f64)>) -> String {
    interval.map_or_else(String::new, |(lo, hi)| {
        format!(" [{}, {}]", format::score(lo), format::score(hi))
    })
}

fn order(data: &SweepData) -> String {
    let direction = if data.lower_is_better {
        "lower"
    } else {
        "higher"
    };
    let seeds: Vec<String> = data.seeds.iter().map(u64::to_string).collect();
    format!(
        "Ranked by {}, {direction} is better, on the validation rows; seeds {}.",
        data.metric,
        seeds.join(", ")
    )
}

fn table(data: &SweepData) -> Markup {
    html! {
        table {
            thead { tr {
                th scope="col" { "Recipe" } th scope="col" { "Mean" } th scope="col" { "95 % interval" }
                @for seed in &data.seeds { th scope="col" { "Seed " (seed) } }
                th scope="col" { "Against the best" }
            } }
            tbody {
                @for (at, row) in data.rows.iter().enumerate() {
                    tr {
                        td { (at + 1) ". " (row.settings) }
                        td.num { (format::score(row.mean)) }
                        td.num { (spread(row.interval)) }
                        @for score in &row.scores { td.num { (format::score(*score)) } }
                        td { (behind(row)) }
                    }
                }
            }
        }
    }
}

fn spread(interval: Option<(f64, f64)>) -> String {
    interval.map_or_else(
        || "–".into(),
        |(lo, hi)| format!("{} to {}", format::score(lo), format::score(hi)),
    )
}

fn behind(row: &SweepRow) -> String {
    let Some(mean) = row.behind else {
        return "the best".into();
    };
    let mean = format::signed(mean, 4);
    match row.behind_interval {
        None => mean,
        Some((lo, hi)) if lo <= 0.0 && hi >= 0.0 => format!("{mean}: these seeds cannot tell"),
        Some((lo, hi)) => format!(
            "{mean} ({} to {})",
            format::signed(lo, 4),
            format::signed(hi, 4)
        ),
    }
}

/// Height of one recipe in the drawing: its name over its line.
const LINE: f64 = 44.0;

fn draw(data: &SweepData, width: f64) -> Markup {
    let values = data.rows.iter().flat_map(|row| {
        let ends = row.interval.into_iter().flat_map(|(lo, hi)| [lo, hi]);
        row.scores.iter().copied().chain(ends).chain([row.mean])
    });
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
        (low.min(v), high.max(v))
    });
    let x = Axis {
        low,
        high,
        from: 12.0,
        to: width - 12.0,
    };
    let bottom = LINE * data.rows.len() as f64 + 8.0;
    let (ticks, decimals) = x.ticks(if width < 500.0 { 3 } else { 8 });
    html! {
        svg viewBox={ "0 0 " (at(width)) " " (at(bottom + 26.0)) } role="img" aria-label="Scores of each recipe, by seed" {
            @for tick in ticks {
                line.grid x1=(at(x.at(tick))) x2=(at(x.at(tick))) y1="4" y2=(at(bottom)) {}
                text x=(at(x.at(tick))) y=(at(bottom + 18.0)) text-anchor="middle" { (format!("{tick:.decimals$}")) }
            }
            @for (number, row) in data.rows.iter().enumerate() {
                (one(row, &x, LINE * number as f64 + 8.0))
            }
        }
    }
}

fn one(row: &SweepRow, x: &Axis, top: f64) -> Markup {
    let y = at(top + 27.0);
    let class = if row.behind.is_none() { "up" } else { "tie" };
    html! {
        text.name x="8" y=(at(top + 12.0)) { (row.settings) }
        @if let Some((lo, hi)) = row.interval {
            line class={ "whisker s-" (class) } x1=(at(x.at(lo))) x2=(at(x.at(hi))) y1=(y) y2=(y) {}
        }
        @for score in &row.scores {
            circle class={ "f-" (class) } cx=(at(x.at(*score))) cy=(y) r="3" {}
        }
        circle class={ "f-" (class) } cx=(at(x.at(row.mean))) cy=(y) r="6" {}
    }
}

fn test(rows: &[SweepTest]) -> Markup {
    html! {
        section {
            h2 { "The winner on the test rows" }
            p { "Rows that no recipe was chosen by: the mean over the winner's seeds against the model as it was." }
            div.card.scroll { table {
                thead { tr {
                    th scope="col" { "Metric" } th scope="col" { "Before" } th scope="col" { "After" }
                    th scope="col" { "Δ" } th scope="col" { "Interval of Δ" } th scope="col" { "Verdict" }
                } }
                tbody { @for row in rows {
                    tr {
                        td { (format::short_label(&row.metric)) }
                        td.num { (format::score(row.before)) }
                        td.num { (format::score(row.after)) }
                        td class={ "num " (format::direction(row.after - row.before)) } { (format::signed(row.after - row.before, 4)) }
                        td.num { (row.interval.map_or_else(|| "–".into(), |(lo, hi)| format!("{} to {}", format::signed(lo, 4), format::signed(hi, 4)))) }
                        td { (row.verdict) }
                    }
                } }
            } }
        }
    }
}

fn method() -> Markup {
    html! {
        section {
            h2 { "How to read this" }
            ul.notes {
                li { "Every recipe is trained once with each seed. Its score is the mean over seeds; the interval is Student's t over them, so it speaks of other seeds on these rows, not of other rows." }
                li { "“Against the best” pairs the seeds: the difference to the best recipe with the same seed, and its interval. Where that holds 0, the order of the two may be luck. Each interval stands for itself: with many recipes some leave out 0 by luck, too." }
                li { "The best of many is chosen for its score, so that score flatters it. The test rows, which chose nothing, do not." }
            }
        }
    }
}
