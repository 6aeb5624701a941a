//! The report in short, for a pull request.

use std::fmt::Write as _;

use textmetrics::stats::PairedComparison;

use crate::data::{Elsewhere, ReportData};
use crate::elsewhere::number;
use crate::format;

/// Verdict, tables and provenance as Markdown. No row is in it: the page has them.
///
/// Names and notes come from files and are escaped, so that they stay text.
pub fn render_markdown(data: &ReportData) -> String {
    let all = &data.comparison.all;
    let verdict = if data.identical {
        "Identical predictions"
    } else {
        &all.says
    };
    let mut out = format!(
        "# {}\n\n- before: {}\n- after: {}\n\n**{}**\n",
        text(&data.title),
        text(&data.before),
        text(&data.after),
        text(verdict)
    );
    for note in &data.notes {
        let _ = write!(out, "\n- {}", text(note));
    }
    section(&mut out, &format!("All {} rows", all.n), all);
    if let Some(short) = data.comparison.short.as_ref().filter(|s| s.n < all.n) {
        let title = format!("{} rows with a short gold answer", short.n);
        section(&mut out, &title, short);
    }
    if let Some(moved) = &data.elsewhere {
        elsewhere(&mut out, moved);
    }
    for block in &data.provenance {
        let _ = write!(out, "\n### {}\n\n", text(&block.title));
        for (name, value) in &block.facts {
            let _ = writeln!(out, "- {}: {}", text(name), text(value));
        }
    }
    out
}

fn section(out: &mut String, title: &str, comparison: &PairedComparison) {
    let _ = write!(
        out,
        "\n\n## {title}\n\n| metric | before | after | Δ | interval | p | adjusted p | won · tied · lost | detectable | verdict |\n|---|---|---|---|---|---|---|---|---|---|\n"
    );
    for metric in &comparison.metrics {
        let detectable = metric
            .mde
            .map_or("–".to_owned(), |mde| format!("±{mde:.3}"));
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} · {} · {} | {detectable} | {} |",
            text(format::short_label(&metric.name)),
            format::score(metric.before),
            format::score(metric.after),
            format::signed(metric.delta, 4),
            format::interval(metric),
            format::p(metric.p),
            format::p(metric.p_holm),
            metric.wins,
            metric.ties,
            metric.losses,
            text(&metric.says)
        );
    }
}

fn elsewhere(out: &mut String, moved: &Elsewhere) {
    let said = format!("On texts of other kinds {}", moved.says());
    let _ = write!(
        out,
        "\n\n## Elsewhere\n\n{}\n\n| text | tokens | perplexity before | after | KL, nats a token | same choice |\n|---|---|---|---|---|---|\n",
        text(&said)
    );
    for (name, moved) in &moved.texts {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {:.1} % |",
            text(name),
            moved.tokens,
            number(moved.perplexity_before, 2),
            number(moved.perplexity_after, 2),
            number(moved.kl, 4),
            100.0 * moved.same_choice
        );
    }
}

/// A text on one line, without a character that Markdown or HTML would take for markup.
fn text(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for c in raw.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '&' | '~' | '!' => {
                out.extend(['\\', c]);
            }
            '@' => out.push_str("@\u{200b}"), // mentions nobody
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn foreign_text_is_no_markup() {
        assert_eq!(
            text("a|b\n# c <img> [x](y) @team"),
            "a\\|b \\# c \\<img\\> \\[x\\](y) @\u{200b}team"
        );
    }
}
