//! Well-formed files, in all the ways people write them.

use dolly_data::{DropReason, Format, load_rows};

#[test]
fn csv_with_mark_quotes_and_line_breaks() {
    let csv = "\u{feff}id,category,instruction,context,response\r\n\
        7,open_qa,\"Who said \"\"no\"\"?\",\"line one\nline two\",  She, did. \r\n"
        .replace("  She, did. ", "\"  She, did. \"");
    let loaded = crate::read_as("a.csv", csv).unwrap().rows().unwrap();
    let row = &loaded.rows[0];
    assert_eq!(row.id, "7");
    assert_eq!(row.category, "open_qa");
    assert_eq!(row.instruction, "Who said \"no\"?");
    assert_eq!(row.context.as_deref(), Some("line one\nline two"));
    assert_eq!(row.response, "  She, did. ", "text is not trimmed");
}

#[test]
fn committed_samples_agree_across_formats() {
    let [csv, jsonl, json] = ["data/sample.csv", "data/sample.jsonl", "data/sample.json"]
        .map(|name| load_rows(&crate::ours(name)).unwrap());
    assert_eq!(csv, jsonl);
    assert_eq!(jsonl, json);
    let ids: Vec<&str> = csv.rows.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids, ["10", "x-11", "2"], "a row without id gets its index");
    let why: Vec<_> = csv
        .dropped
        .iter()
        .map(|d| (d.index, d.id.as_str(), d.reason))
        .collect();
    assert_eq!(
        why,
        [
            (3, "13", DropReason::NoResponse),
            (4, "14", DropReason::NoInstruction),
            (5, "15", DropReason::Blank)
        ]
    );
    assert_eq!(csv.rows[0].context, None, "a blank context is none");
    assert_eq!(csv.rows[1].context.as_deref(), Some(" kept as it is "));
}

#[test]
fn jsonl_takes_integers_for_ids_and_skips_empty_lines() {
    let text = "\u{feff}{\"id\": 12, \"instruction\": \"a\", \"response\": \"b\"}\n\n  \n{\"id\": null, \"instruction\": \"c\", \"context\": null, \"response\": \"d\", \"other\": [1]}";
    let source = crate::read_as("a.jsonl", text).unwrap();
    assert_eq!(source.format(), Format::Jsonl);
    let ids: Vec<&str> = source.records().iter().map(|r| r.id.as_str()).collect();
    assert_eq!(ids, ["12", "1"]);
    assert_eq!(source.records()[1].line, 4);
}

#[test]
fn an_array_is_read_whatever_the_extension() {
    let text = "[{\"instruction\": \"a\", \"response\": \"b\"}]";
    for name in ["a.json", "a.jsonl"] {
        assert_eq!(crate::read_as(name, text).unwrap().format(), Format::Json);
    }
}

#[test]
fn blank_is_pythons_notion() {
    let text = r#"{"instruction": "a", "context": "\u001c\u00a0\u2003", "response": "b"}"#;
    let rows = crate::read_as("a.jsonl", text)
        .unwrap()
        .rows()
        .unwrap()
        .rows;
    assert_eq!(rows[0].context, None);
}
