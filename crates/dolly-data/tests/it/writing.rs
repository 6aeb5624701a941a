//! What we write, we read; and a failed write leaves what was there.

use std::path::Path;

use dolly_data::{DataError, LeakKind, Row, Turn, load_rows, write_csv, write_jsonl};
use proptest::prelude::*;

fn row(texts: [&str; 5]) -> Row {
    let [id, category, instruction, context, response] = texts.map(str::to_owned);
    Row {
        id,
        category,
        instruction,
        context: (!context.is_empty()).then_some(context),
        response,
        ..Row::default()
    }
}

#[test]
fn bytes_are_as_documented() {
    let dir = tempfile::tempdir().unwrap();
    let rows = [
        row(["1", "open_qa", "say \"a, b\"", "", "two\nlines"]),
        row(["2", "", "q", "c", "é"]),
    ];
    let written = |name: &str, write: fn(&Path, &[Row]) -> Result<(), DataError>| {
        let path = dir.path().join(name);
        write(&path, &rows).unwrap();
        std::fs::read_to_string(path).unwrap()
    };
    assert_eq!(
        written("a.csv", write_csv),
        "id,category,instruction,context,response,key\n1,open_qa,\"say \"\"a, b\"\"\",,\"two\nlines\",e3e93549d0159651\n2,,q,c,é,b14a9d2d139c173e\n"
    );
    assert_eq!(
        written("a.jsonl", write_jsonl),
        "{\"id\":\"1\",\"category\":\"open_qa\",\"instruction\":\"say \\\"a, b\\\"\",\"context\":\"\",\"response\":\"two\\nlines\",\"key\":\"e3e93549d0159651\"}\n\
         {\"id\":\"2\",\"category\":\"\",\"instruction\":\"q\",\"context\":\"c\",\"response\":\"é\",\"key\":\"b14a9d2d139c173e\"}\n"
    );
}

#[test]
fn conversations_and_flags_survive_both_formats() {
    let dir = tempfile::tempdir().unwrap();
    let turn = |role: &str, content: &str| Turn {
        role: role.into(),
        content: content.into(),
    };
    let plain = row(["1", "open_qa", "q", "c", "a"]);
    let flagged = Row {
        leak: Some(LeakKind::Near),
        ..plain.clone()
    };
    let long = Row {
        messages: vec![
            turn("system", "\"s\""),
            turn("user", "q,\n"),
            turn("assistant", "a"),
        ],
        ..row(["2", "", "q,\n", "", "a"])
    };
    assert_eq!(flagged.key(), plain.key());
    assert_ne!(long.key(), row(["2", "", "q,\n", "", "a"]).key());
    let rows = [plain, flagged, long];
    for (name, write) in [
        ("a.csv", write_csv as fn(&Path, &[Row]) -> _),
        ("a.jsonl", write_jsonl),
    ] {
        let path = dir.path().join(name);
        write(&path, &rows).unwrap();
        assert_eq!(load_rows(&path).unwrap().rows, rows, "{name}");
    }
}

#[test]
fn an_unwritable_place_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("no/such/folder/a.csv");
    let error = write_csv(&path, &[]).unwrap_err();
    assert!(
        error.to_string().contains("folder/a.csv: cannot write"),
        "{error}"
    );
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

proptest! {
    // Each case waits for the disk four times.
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn rows_survive_both_formats(
        texts in prop::collection::vec(("\\PC{1,8}", "(?s).{0,30}", "(?s).{0,30}", "(?s).{0,30}"), 1..8),
    ) {
        let rows: Vec<Row> = texts
            .iter()
            .enumerate()
            .map(|(i, (category, instruction, context, response))| {
                let context = if context.trim().is_empty() { "" } else { context };
                row([&i.to_string(), category, &format!("q{instruction}"), &format!("{context}{}", if context.is_empty() { "" } else { "." }), &format!("r{response}")])
            })
            .collect();
        let dir = tempfile::tempdir().unwrap();
        let (csv, jsonl) = (dir.path().join("a.csv"), dir.path().join("a.jsonl"));
        write_csv(&csv, &rows).unwrap();
        write_jsonl(&jsonl, &rows).unwrap();
        prop_assert_eq!(&load_rows(&csv).unwrap().rows, &rows);
        prop_assert_eq!(&load_rows(&jsonl).unwrap().rows, &rows);
    }
}
