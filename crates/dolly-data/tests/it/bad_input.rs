//! What a person is told when a file is not what it should be.

use dolly_data::{DataError, load_rows, read_source};

use crate::complaint;

#[test]
fn files_that_are_not_there_or_not_files() {
    let dir = tempfile::tempdir().unwrap();
    let said = |path: &std::path::Path| read_source(path).unwrap_err().to_string();
    assert!(said(&dir.path().join("none.csv")).contains("none.csv: no such file"));
    assert!(said(dir.path()).contains("this is a folder"));
    let odd = dir.path().join("rows.xlsx");
    std::fs::write(&odd, "x").unwrap();
    assert!(said(&odd).contains("found extension `xlsx`, expected .csv"));
}

#[test]
fn nothing_in_it() {
    for name in ["a.csv", "a.jsonl", "a.json"] {
        for content in ["", "\u{feff}", " \n\n"] {
            assert!(
                complaint(name, content).starts_with(": the file is empty"),
                "{name}"
            );
        }
    }
    assert!(complaint("a.csv", "instruction,response\n").contains("no row after it"));
    assert!(complaint("a.json", "[]").contains("the file is empty"));
}

#[test]
fn only_blank_rows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.csv");
    std::fs::write(&path, "instruction,response\n , \n,\nq,\n").unwrap();
    let error = load_rows(&path).unwrap_err();
    assert!(error.to_string().contains("none of the 3 rows"), "{error}");
}

#[test]
fn bytes_that_are_not_utf8() {
    let said = complaint("a.csv", b"instruction,response\na,b\nc,d\xe9e\n");
    assert_eq!(
        said,
        ": line 3: invalid UTF-8 at byte 28 of the file (0xE9); save it as UTF-8"
    );
    assert!(complaint("a.jsonl", b"{\"instruction\": \"\xe2\x82").contains("cut short"));
    assert!(complaint("a.csv", b"\xff\xfei\0n\0").contains("UTF-16"));
}

#[test]
fn columns() {
    let said = complaint("a.csv", "query,reply\na,b\n");
    assert!(said.contains("no column for instruction and response; found columns: query, reply;"));
    let said = complaint("a.jsonl", "{\"instruction\": \"a\"}\n{\"reply\": \"b\"}\n");
    assert!(said.contains("no column for response; found columns: instruction, reply;"));
    assert!(
        complaint("a.csv", "instruction,response,response\na,b,c\n").contains("`response` twice")
    );
}

#[test]
fn csv_rows() {
    let head = "instruction,response\n";
    let said = complaint("a.csv", format!("{head}a,b\n\"c\nc\",d\ne,f,g\n"));
    assert!(
        said.starts_with(": line 5: found 3 fields, expected 2"),
        "{said}"
    );
    let said = complaint("a.csv", format!("{head}a,b\nc,\"cut sho"));
    assert!(
        said.starts_with(": line 3: the quote opened here is never closed"),
        "{said}"
    );
    let fine = format!("{head}\"a \"\"b\"\"\",5\" pipe\n");
    assert_eq!(
        crate::read_as("a.csv", fine).unwrap().records()[0]
            .response
            .original,
        "5\" pipe"
    );
}

#[test]
fn json_lines() {
    let good = "{\"instruction\": \"a\", \"response\": \"b\"}\n";
    let said = complaint(
        "a.jsonl",
        format!("{good}{good}{{\"instruction\": \"a\", \"resp"),
    );
    assert!(
        said.starts_with(": line 3: not valid JSON (the last line"),
        "{said}"
    );
    let said = complaint("a.jsonl", format!("{good}nonsense\n{good}"));
    assert_eq!(said, ": line 2: not valid JSON");
    let said = complaint("a.jsonl", format!("{good}[1]\n"));
    assert_eq!(
        said,
        ": line 2: found an array, expected one JSON object a line"
    );
    assert!(complaint("a.json", "[{\"instruction\": 1").contains("the file is cut short"));
}

#[test]
fn json_types() {
    let complain =
        |fields: &str| complaint("a.jsonl", format!("{{\"instruction\": \"a\", {fields}}}\n"));
    assert_eq!(
        complain("\"response\": 5"),
        ": line 1: field `response`: found an integer, expected a string or null"
    );
    assert_eq!(
        complain("\"response\": \"b\", \"id\": 1.5"),
        ": line 1: field `id`: found a fraction, expected a string or an integer"
    );
    assert_eq!(
        complain("\"response\": \"b\", \"new-context\": 3"),
        ": line 1: column `new-context`: found an integer, expected lists of user_id, value and status"
    );
}

#[test]
fn elements_of_an_array_know_their_line() {
    let array = "[\n {\"instruction\": \"a\"},\n\n {\"instruction\": 2}\n]\n";
    assert_eq!(
        complaint("a.json", array),
        ": line 4: field `instruction`: found an integer, expected a string or null"
    );
    assert!(complaint("a.json", "[\n{},\n nonsense]").starts_with(": line 3: not valid JSON"));
}

#[test]
fn causes_are_kept() {
    let error = crate::read_as("a.jsonl", "{\"a\" 1}").unwrap_err();
    assert!(matches!(error, DataError::Json { .. }));
    assert!(
        std::error::Error::source(&error)
            .unwrap()
            .to_string()
            .contains("expected `:`")
    );
}
