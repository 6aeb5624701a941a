//! The rows as data for the page's script, and the policy that lets that script and nothing else run.

use std::collections::HashMap;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use textmetrics::RowScore;

use crate::data::ReportRow;
use crate::marks;

/// The one script of the page.
pub(crate) const SCRIPT: &str = include_str!("app.js");

/// Content security policy: nothing is loaded from anywhere, and of all scripts only the one with
/// this hash runs, whatever a text contains.
pub(crate) fn policy() -> String {
    let hash = base64(&Sha256::digest(SCRIPT.as_bytes()));
    format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'"
    )
}

/// Every row as JSON that may stand in a `script` element. A row is a list, in the order that
/// `app.js` reads; a context is stored once, however many rows share it.
pub(crate) fn rows(rows: &[ReportRow]) -> String {
    let mut contexts = Table::default();
    let mut categories = Table::default();
    let names = anchors(rows);
    let listed: Vec<Value> = rows
        .iter()
        .zip(&names)
        .map(|(row, name)| {
            let context = contexts.number(context(row));
            let category = categories.number(row.category.as_deref());
            list(row, name, context, category)
        })
        .collect();
    let all = json!({ "contexts": contexts.texts, "categories": categories.texts, "rows": listed });
    escape(&all.to_string())
}

/// The row's context, where there is one to show.
pub(crate) fn context(row: &ReportRow) -> Option<&str> {
    row.context
        .as_deref()
        .filter(|text| !text.trim().is_empty())
}

/// The categories of the rows in alphabetical order, with their counts.
pub(crate) fn categories(rows: &[ReportRow]) -> Vec<(&str, usize)> {
    let mut counts = std::collections::BTreeMap::new();
    for name in rows.iter().filter_map(|row| row.category.as_deref()) {
        *counts.entry(name).or_insert(0) += 1;
    }
    counts.into_iter().collect()
}

/// What each row is linked by: its id where all rows have one of their own, else its number.
pub(crate) fn anchors(rows: &[ReportRow]) -> Vec<String> {
    let ids: std::collections::HashSet<_> = rows.iter().filter_map(|row| row.id.as_ref()).collect();
    let unique = ids.len() == rows.len();
    let name = |(i, row): (usize, &ReportRow)| {
        let id = row.id.clone().filter(|_| unique);
        id.unwrap_or_else(|| (i + 1).to_string())
    };
    rows.iter().enumerate().map(name).collect()
}

/// Texts, each stored once.
#[derive(Default)]
struct Table<'a> {
    texts: Vec<&'a str>,
    numbers: HashMap<&'a str, usize>,
}

impl<'a> Table<'a> {
    fn number(&mut self, text: Option<&'a str>) -> Option<usize> {
        let text = text?;
        Some(*self.numbers.entry(text).or_insert_with(|| {
            self.texts.push(text);
            self.texts.len() - 1
        }))
    }
}

fn list(row: &ReportRow, name: &str, context: Option<usize>, category: Option<usize>) -> Value {
    let (gold, before, after) = (
        marks::words(&row.gold),
        marks::words(&row.before),
        marks::words(&row.after),
    );
    let (gold_before, before) = marks::common(&gold, &before);
    let (gold_after, after) = marks::common(&gold, &after);
    let shared = [gold_before, before, gold_after, after];
    json!([
        name,
        row.instruction,
        context,
        row.gold,
        row.before,
        row.after,
        category,
        flags(row),
        scores(&row.before_score),
        scores(&row.after_score),
        shared.map(|marks| marks::hex(&marks)),
        row.leak,
        rounded(row.delta()),
    ])
}

fn flags(row: &ReportRow) -> u8 {
    let cut = |finish: &Option<String>| finish.as_deref() == Some("length");
    let all = [
        row.before_score.short,
        row.truncated,
        row.flipped(),
        cut(&row.before_finish),
        cut(&row.after_finish),
    ];
    all.iter()
        .rev()
        .fold(0, |bits, flag| bits * 2 + u8::from(*flag))
}

fn scores(score: &RowScore) -> Value {
    let rouge = &score.rouge;
    json!([
        rounded(score.f1),
        rounded(rouge.rouge_l.f),
        rounded(rouge.rouge_lsum.f),
        u8::from(score.em) + 2 * u8::from(score.relaxed) + 4 * u8::from(score.acc_at_rouge),
    ])
}

/// Four decimals are more than the page shows.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// JSON in which no character means anything to HTML. The characters can only stand inside strings,
/// where JSON has another way to write them.
fn escape(json: &str) -> String {
    let mut safe = String::with_capacity(json.len() + json.len() / 50);
    for c in json.chars() {
        match c {
            '<' => safe.push_str("\\u003c"),
            '>' => safe.push_str("\\u003e"),
            '&' => safe.push_str("\\u0026"),
            '\u{2028}' => safe.push_str("\\u2028"),
            '\u{2029}' => safe.push_str("\\u2029"),
            c => safe.push(c),
        }
    }
    safe
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, i| {
            bits << 8 | u32::from(three.get(i).copied().unwrap_or(0))
        });
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= three.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_in_rfc_4648() {
        let pairs = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ];
        for (text, coded) in pairs {
            assert_eq!(base64(text.as_bytes()), coded);
        }
    }

    #[test]
    fn escaped_json_is_the_same_value_without_a_tag() {
        let value = json!({ "a": "</script><!-- & \u{2028}\u{2029} é" });
        let text = escape(&value.to_string());
        assert!(!text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']));
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
