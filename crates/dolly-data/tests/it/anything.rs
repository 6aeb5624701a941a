//! What holds for any bytes and any values.

use std::fmt::Write as _;

use dolly_data::Record;
use proptest::prelude::*;

use crate::read_as;

/// A text as Python's `repr` writes it.
fn repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => out += "\\\\",
            '\n' => out += "\\n",
            '\r' => out += "\\r",
            '\t' => out += "\\t",
            c if c == quote => out.extend(['\\', c]),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                write!(out, "\\x{:02x}", c as u32).unwrap();
            }
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

fn array(values: &[Option<String>]) -> String {
    let items = values
        .iter()
        .map(|v| v.as_deref().map_or("None".to_owned(), repr));
    format!(
        "array([{}], dtype=object)",
        items.collect::<Vec<_>>().join(", ")
    )
}

fn csv_cell(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn reprs_of_any_values_are_read(
        values in prop::collection::vec(prop::option::of("(?s)[ -~éß🦊'\"\\\\\n\r\t\u{1}]{0,20}"), 0..4),
    ) {
        let states = vec![Some("submitted".to_owned()); values.len()];
        let cell = format!("{{'user_id': {0}, 'value': {1}, 'status': {2}}}",
            array(&vec![None; values.len()]), array(&values), array(&states));
        let csv = format!("original-instruction,original-response,new-response\nq,a,{}\n", csv_cell(&cell));
        let source = read_as("a.csv", csv).unwrap();
        let found: Vec<Option<String>> =
            source.records()[0].response.curated.iter().map(|s| s.value.clone()).collect();
        prop_assert_eq!(found, values);
    }

    #[test]
    fn damaged_reprs_are_errors_or_texts(cell in "[\\[\\]{}()'\", array=None\\\\x0-9:]{0,40}") {
        let csv = format!("original-instruction,original-response,new-response\nq,a,{}\n", csv_cell(&cell));
        if let Err(error) = read_as("a.csv", csv) {
            prop_assert!(error.to_string().contains("line 2: column `new-response`"), "{}", error);
        }
    }

    #[test]
    fn any_bytes_give_records_or_an_error_that_names_the_file(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        text in "[\\[\\]{}\",:\n instruction\\\\response0-9é]{0,80}",
        name in prop::sample::select(vec!["a.csv", "a.jsonl", "a.json", "a.csv.gz", "a.jsonl.zst", "a.parquet"]),
    ) {
        for content in [bytes, text.into_bytes()] {
            if let Err(error) = read_as(name, content) {
                prop_assert!(error.to_string().contains(name), "{}", error);
            }
        }
    }

    #[test]
    fn json_lines_of_any_texts_are_read(rows in prop::collection::vec(("[a-z]\\PC{0,20}", "(?s)[a-z].{0,30}"), 1..5)) {
        let lines = rows.iter().map(|(instruction, response)| {
            serde_json::json!({"instruction": instruction, "response": response}).to_string() + "\n"
        });
        let source = read_as("a.jsonl", lines.collect::<String>()).unwrap();
        let texts = |r: &Record| (r.instruction.original.clone(), r.response.original.clone());
        prop_assert_eq!(source.records().iter().map(texts).collect::<Vec<_>>(), rows);
    }
}
