//! Curated `new-*` values in every shape that exports give them.

use dolly_data::{Record, Submission, read_source};
use serde_json::Value;

fn values(submissions: &[Submission]) -> Vec<Option<&str>> {
    submissions.iter().map(|s| s.value.as_deref()).collect()
}

#[test]
fn pandas_export_of_hard_texts() {
    let text = std::fs::read_to_string(crate::ours("golden/curated.json")).unwrap();
    let golden: Value = serde_json::from_str(&text).unwrap();
    let texts: Vec<String> = serde_json::from_value(golden["texts"].clone()).unwrap();
    let source = read_source(&crate::ours("golden/curated.csv")).unwrap();
    assert_eq!(source.columns()[0], "id", "the byte order mark is gone");
    assert_eq!(source.len(), texts.len());
    for (record, text) in source.records().iter().zip(&texts) {
        let Record {
            instruction,
            context,
            response,
            ..
        } = record;
        assert_eq!(&context.original, text);
        assert_eq!(values(&instruction.curated), [Some(text.as_str())]);
        let louder = format!("{text}!");
        assert_eq!(
            values(&context.curated),
            [Some(text.as_str()), Some(&louder)]
        );
        assert_eq!(values(&response.curated), [None, Some(text.as_str())]);
        assert_eq!(context.curated[0].user_id.as_deref(), Some("ann's"));
        assert_eq!(context.curated[0].status.as_deref(), Some("submitted"));
        assert_eq!(instruction.curated[0].user_id, None);
    }
}

#[test]
fn json_shapes_agree() {
    let shapes = [
        r#"{"user_id": [null, "u"], "value": [null, "Why?"], "status": ["discarded", "submitted"]}"#,
        r#"[{"user_id": null, "value": null, "status": "discarded"}, {"user_id": "u", "value": "Why?", "status": "submitted"}]"#,
        r#""{'user_id': array([None, 'u'], dtype=object), 'value': array([None, 'Why?'],\n dtype=object), 'status': array(['discarded', 'submitted'], dtype='<U9')}""#,
    ];
    let read = |shape: &str| {
        let line = format!(
            r#"{{"id": 7, "original-instruction": " ", "new-instruction": {shape}, "original-response": "so"}}"#
        );
        crate::read_as("a.jsonl", line).unwrap().records()[0].clone()
    };
    for shape in shapes {
        let record = read(shape);
        assert_eq!(record, read(shapes[0]));
        assert_eq!(values(&record.instruction.curated), [None, Some("Why?")]);
        assert_eq!(
            record
                .to_row(dolly_data::View::Original)
                .unwrap()
                .instruction,
            "Why?"
        );
    }
}

#[test]
fn plain_text_may_stand_in_a_curated_column() {
    let csv = "new-instruction,new-response\n[sic] what?,{no dict}\n";
    let row = crate::read_as("a.csv", csv).unwrap().rows().unwrap().rows[0].clone();
    assert_eq!(
        (row.instruction.as_str(), row.response.as_str()),
        ("[sic] what?", "{no dict}")
    );
}

#[test]
fn original_comes_first_and_curated_fills_in() {
    let csv = "id,original-instruction,original-context,original-response,new-instruction,new-context,new-response\n\
        a,Original?,, ,\"{'value': array(['New?'])}\",\"{'value': ['ctx ']}\",\"{'value': ['new']}\"\n";
    let row = crate::read_as("a.csv", csv).unwrap().rows().unwrap().rows[0].clone();
    assert_eq!(row.instruction, "Original?");
    assert_eq!(row.context.as_deref(), Some("ctx "));
    assert_eq!(row.response, "new");
}

#[test]
fn a_broken_cell_is_named() {
    let complain = |cell: &str| {
        let csv = format!("instruction,response,new-context\na,b,\nc,d,\"{cell}\"\n");
        crate::complaint("a.csv", csv)
    };
    let cases = [
        (
            "{'value': array(['cut short",
            "character 18: the quote opened here is never closed",
        ),
        ("{'value': array(['x'", "it ends here, expected"),
        ("{'value': array(['a', ..., 'b'])}", "NumPy left items out"),
        (
            "{'user_id': ['x']}",
            "found keys `user_id`, expected `value`",
        ),
        (
            "{'value': [['x']]}",
            "found an array, expected a text or null",
        ),
        ("{'value': array(['x'])} more", "found `m` after the end"),
        ("{'value': ['\\xzz']}", "expected 2 hexadecimal digits"),
    ];
    for (cell, wanted) in cases {
        let said = complain(cell);
        assert!(
            said.starts_with(": line 3: column `new-context`: "),
            "{said}"
        );
        assert!(said.contains(wanted), "{cell}: {said}");
    }
    let deep = format!("{}'x'", "['".replace('\'', "").repeat(5000));
    assert!(complain(&format!("['a', {deep}")).contains("nested deeper than 64"));
}
