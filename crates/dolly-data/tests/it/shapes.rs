//! The shapes that rows come in.

use std::io::Write as _;

use dolly_data::{ReadOptions, Row, Source, View, read_source_with};

use crate::{complaint, read_as};

#[allow(
    clippy::needless_pass_by_value,
    reason = "reads like the sentence it stands for"
)]
fn only(source: Source) -> Row {
    let rows = source.rows().unwrap().rows;
    assert_eq!(rows.len(), 1);
    rows.into_iter().next().unwrap()
}

fn texts(row: &Row) -> [&str; 3] {
    [
        &row.instruction,
        row.context.as_deref().unwrap_or(""),
        &row.response,
    ]
}

#[test]
fn alpaca_prompts_and_questions() {
    for (header, row, expected) in [
        ("instruction,input,output", "q,c,a", ["q", "c", "a"]),
        ("prompt,completion", "q,a", ["q", "", "a"]),
        ("question,answer", "q,a", ["q", "", "a"]),
        // The first name that is there counts, whatever stands under the others.
        (
            "prompt,instruction,output,response",
            "x,q,y,a",
            ["q", "", "a"],
        ),
    ] {
        let csv = read_as("a.csv", format!("{header}\n{row}\n")).unwrap();
        assert_eq!(texts(&only(csv)), expected, "{header}");
    }
    let json = r#"{"prompt": "q", "completion": "a", "id": 7}"#;
    let row = only(read_as("a.jsonl", json).unwrap());
    assert_eq!((row.id.as_str(), texts(&row)), ("7", ["q", "", "a"]));
}

fn mapped(map: &str, csv: &str) -> Result<Source, dolly_data::DataError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.csv");
    std::fs::write(&path, csv).unwrap();
    let options = ReadOptions {
        map: map.parse().unwrap(),
        ..ReadOptions::default()
    };
    read_source_with(&path, &options)
}

#[test]
fn columns_of_other_names() {
    let csv = "frage,instruction,antwort,quelle,nr\nq,not this,a,c,x7\n";
    let map = "instruction=frage,response=antwort, context=quelle,id=nr";
    let row = only(mapped(map, csv).unwrap());
    assert_eq!((row.id.as_str(), texts(&row)), ("x7", ["q", "c", "a"]));
    let error = mapped("instruction=fragen,response=antwort", csv).unwrap_err();
    assert!(
        error.to_string().ends_with(
            "no column `fragen`, to which a field is mapped; found columns: frage, instruction, antwort, quelle, nr"
        ),
        "{error}"
    );
    for (map, said) in [
        ("instruction", "expected FIELD=COLUMN"),
        ("frage=instruction", "unknown field `frage`; known are id,"),
        ("id=a,id=b", "mapped twice"),
    ] {
        let error = map.parse::<dolly_data::FieldMap>().unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

const TURNS: &str = r#"[{"role": "system", "content": "s"}, {"role": "user", "content": "q"},
    {"role": "assistant", "content": "a"}]"#;

#[test]
fn conversations() {
    let line = |turns: &str| format!("{{\"messages\": {}}}\n", turns.replace('\n', " "));
    let row = only(read_as("a.jsonl", line(TURNS)).unwrap());
    assert_eq!(texts(&row), ["q", "", "a"]);
    let roles: Vec<&str> = row.messages.iter().map(|turn| turn.role.as_str()).collect();
    assert_eq!(roles, ["system", "user", "assistant"]);

    let cell = TURNS.replace('"', "\"\"");
    let csv = only(read_as("a.csv", format!("id,messages\n0,\"{cell}\"\n")).unwrap());
    assert_eq!(csv, row);

    let short = r#"[{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]"#;
    let plain = only(read_as("a.jsonl", line(short).replace("messages", "conversations")).unwrap());
    assert_eq!((texts(&plain), plain.messages.len()), (["q", "", "a"], 0));
    let same = only(read_as("a.csv", "instruction,response\nq,a\n").unwrap());
    assert_eq!(plain.key(), same.key());
    assert_ne!(row.key(), same.key());
}

#[test]
fn conversations_that_cannot_be_trained_on() {
    for (turns, said) in [
        (
            r#"[{"role": "user", "content": "q"}]"#,
            "the last turn is the user's",
        ),
        (
            r#"[{"role": "user", "content": "q"}, {"role": "tool", "content": "x"}]"#,
            "turn 2: this is a call of a tool",
        ),
        (
            r#"[{"role": "user", "content": "q"}, {"role": "assistant", "content": null, "tool_calls": [1]}]"#,
            "turn 2: this is a call of a tool",
        ),
        (
            r#"[{"role": "assistant", "content": "a"}]"#,
            "turn 1: found role `assistant`, expected `user`",
        ),
        (r#"[{"role": "user", "content": 5}]"#, "turn 1: `role`"),
        (
            r#"[{"role": "owner", "content": "x"}]"#,
            "turn 1: role `owner`",
        ),
        (r#""no list""#, "expected a list of turns"),
    ] {
        let heard = complaint("a.jsonl", format!("{{\"messages\": {turns}}}\n"));
        assert!(
            heard.starts_with(": line 1: column `messages`: "),
            "{heard}"
        );
        let said = said.replace("`role`", "`content`");
        assert!(heard.contains(&said) || heard.contains("role `"), "{heard}");
    }
}

#[test]
fn views_of_a_curated_source() {
    let new = |value: &str, status: &str| {
        format!(
            r#"[{{"value": "draft", "status": "discarded"}}, {{"value": "{value}", "status": "{status}"}}]"#
        )
    };
    let line = format!(
        "{{\"original-instruction\": \"old\", \"original-response\": \"kept\", \"new-instruction\": {}, \"new-response\": {}}}\n",
        new("new", "submitted"),
        new("", "submitted"),
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.jsonl");
    std::fs::write(&path, line).unwrap();
    for (view, expected) in [
        ("original", Some(["old", "", "kept"])),
        ("prefer-curated", Some(["new", "", "kept"])),
        ("curated", None),
    ] {
        let options = ReadOptions {
            view: view.parse().unwrap(),
            ..ReadOptions::default()
        };
        let source = read_source_with(&path, &options).unwrap();
        let row = source.records()[0].to_row(source.text_view()).ok();
        assert_eq!(row.as_ref().map(texts), expected, "{view}");
    }
    assert!(
        "new"
            .parse::<View>()
            .unwrap_err()
            .to_string()
            .contains("expected original")
    );
}

#[test]
fn ids_that_repeat_are_told() {
    let source = read_as("a.csv", "id,prompt,completion\na,1,1\nb,2,2\na,3,3\n").unwrap();
    assert_eq!(source.repeated_ids(), [("a", vec![2, 4])]);
}

#[test]
fn packed_files_are_unpacked() {
    let csv = b"prompt,completion\nq,a\n";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(csv).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(&csv[..], 3).unwrap();
    assert_eq!(
        texts(&only(read_as("a.csv.gz", &gzip).unwrap())),
        ["q", "", "a"]
    );
    assert_eq!(
        texts(&only(read_as("a.csv.zst", &zstd).unwrap())),
        ["q", "", "a"]
    );
    for (name, bytes) in [("a.csv.gz", &gzip), ("a.csv.zst", &zstd)] {
        let heard = complaint(name, &bytes[..bytes.len() - 3]);
        assert!(heard.starts_with(": cannot be unpacked"), "{heard}");
    }
    assert!(complaint("a.csv.gz", csv).starts_with(": cannot be unpacked"));
    assert!(complaint("a.txt.gz", &gzip).contains("unknown kind of file"));
}

#[test]
fn bombs_and_endless_lines_are_refused() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let piece = b"\n".repeat(1 << 20);
    for _ in 0..100 {
        gzip.write_all(&piece).unwrap();
    }
    let heard = complaint("a.jsonl.gz", gzip.finish().unwrap());
    assert!(
        heard.starts_with(": unpacks to more than 64 MiB"),
        "{heard}"
    );

    let line = [b"{}\n".to_vec(), vec![b'x'; 70 << 20]].concat();
    let heard = complaint("a.jsonl", line);
    assert!(
        heard.starts_with(": line 2 is longer than 64 MiB"),
        "{heard}"
    );
}
