//! Rows made visible.

use chat_prompt::{Message, OverflowPolicy, RowOutcome, TrainingRow, mask_html, show_mask};

use crate::tiny;

fn row(user: &str, answers: [&str; 2]) -> TrainingRow {
    let turns = [
        Message::system("Hi."),
        Message::user(user),
        Message::assistant(answers[0]),
        Message::user("And?"),
        Message::assistant(answers[1]),
    ];
    let outcome = tiny().training_conversation(&turns, 4096, OverflowPolicy::Error);
    match outcome.unwrap() {
        RowOutcome::Kept(row) => row,
        RowOutcome::Dropped { reason, .. } => panic!("dropped: {reason}"),
    }
}

#[test]
fn without_colour() {
    let row = row("<|im_end|>", ["A 🦊.", ""]);
    let shown = show_mask(tiny(), &row, false).unwrap();
    let (headline, body) = shown.split_once('\n').unwrap();
    let learnt = row.labels().count();
    assert_eq!(
        headline,
        format!("{} tokens, {learnt} learnt", row.ids.len())
    );
    let plain = body.replace('▏', "");
    assert_eq!(
        plain,
        "⟪<|im_start|>⟫system⏎\nHi.⟪<|im_end|>⟫⏎\n⟪<|im_start|>⟫user⏎\n<|im_end|>⟪<|im_end|>⟫⏎\n\
         ⟪<|im_start|>⟫assistant⏎\n⟦A 🦊.⟪<|im_end|>⟫⟧⏎\n⟪<|im_start|>⟫user⏎\nAnd?⟪<|im_end|>⟫⏎\n\
         ⟪<|im_start|>⟫assistant⏎\n⟦⟪<|im_end|>⟫⟧"
    );
    assert!(!body.contains('\u{fffd}'), "characters stay whole");
    assert!(
        !body.contains("\n<|im_end|>"),
        "the user's string is several tokens: {body}"
    );
}

#[test]
fn with_colour() {
    let row = row("Name it.", ["A wren.", "No."]);
    let shown = show_mask(tiny(), &row, true).unwrap();
    let body = shown.split_once('\n').unwrap().1;
    // The same text once the colours are gone.
    let mut bare = String::new();
    let mut parts = body.split('\x1b');
    bare += parts.next().unwrap();
    let mut green = String::new();
    for part in parts {
        let (code, text) = part.split_once('m').unwrap();
        bare += text;
        if code.contains("32") {
            green += text;
        }
    }
    let plain = show_mask(tiny(), &row, false).unwrap();
    assert_eq!(bare, plain.split_once('\n').unwrap().1.replace('▏', ""));
    assert_eq!(green, "A wren.⟪<|im_end|>⟫No.⟪<|im_end|>⟫");
    assert_eq!(
        body.matches("\x1b[0m").count() * 2,
        body.matches('\x1b').count()
    );
}

/// Text from data gets no power over the terminal or the page.
#[test]
fn text_is_harmless() {
    let evil =
        "\u{1b}[31mred\u{1b}]0;title\u{7}\r\u{8}\u{9b}2J\u{202e}\u{200b}⟦⏎<script>&\"'</mark>";
    let row = row(evil, ["ok", "ok"]);
    let plain = show_mask(tiny(), &row, false).unwrap();
    let body = plain.replace('▏', "");
    assert!(
        !plain.chars().any(|c| c.is_control() && c != '\n'),
        "{plain:?}"
    );
    for seen in [
        "\\u{202e}",
        "\\u{200b}",
        "\\u{27e6}",
        "\\u{23ce}",
        "<script>",
    ] {
        assert!(body.contains(seen), "{seen} in {body}");
    }
    let html = mask_html(tiny(), [("a <b> \u{1b}", &row)]).unwrap();
    let rows = html.split_once("<section>").unwrap().1;
    assert!(!html.chars().any(|c| c.is_control() && c != '\n'));
    assert!(!rows.contains("<script") && rows.contains("&lt;"));
    assert!(rows.starts_with("\n<h2>a &lt;b&gt; \\u{1b}</h2>"));
    assert_eq!(rows.matches("<mark>").count(), 2, "one for each answer");
    assert_eq!(rows.matches("</mark>").count(), 2);
}

#[test]
fn the_page_is_whole() {
    let row = row("Name it.", ["A wren.", "No."]);
    let html = mask_html(tiny(), [("7", &row), ("8", &row)]).unwrap();
    assert!(html.starts_with("<!doctype html>\n<html lang=\"en\">") && html.ends_with("</html>\n"));
    for no in ["http:", "https:", "<script", "<link", "url("] {
        assert!(!html.contains(no), "{no}");
    }
    assert_eq!(html.matches("<section>").count(), 2);
    // Each control token in bold, besides the one word of the legend.
    let controls = crate::count_controls(tiny(), &row.ids);
    assert_eq!(html.matches("<b ").count(), 2 * controls);
}

#[test]
fn a_cut_is_told() {
    let outcome = tiny().training_row(
        "q",
        Some(&"word ".repeat(99)),
        "a",
        80,
        OverflowPolicy::Context,
    );
    let RowOutcome::Kept(row) = outcome.unwrap() else {
        panic!("dropped")
    };
    let before = row.truncated.as_ref().unwrap().ids_before;
    let shown = show_mask(tiny(), &row, false).unwrap();
    let told = format!("; context shortened, {before} tokens before\n");
    assert!(shown.contains(&told), "{shown}");
}
